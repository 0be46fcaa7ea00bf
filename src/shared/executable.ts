import { accessSync, constants, statSync } from 'node:fs';

/** May this process run the file at this path? */
export function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // ENOENT, EACCES, ENOTDIR, ELOOP: not one that can be run, whichever it is.
    return false;
  }
}
