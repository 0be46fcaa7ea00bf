import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode } from './error-text.js';

/**
 * Make the folder and its missing parents, all with mode 0700. Level by level: on Node 20.20
 * `fs.mkdirSync('/proc/x/y', { recursive: true })` never returns.
 * @throws the system's error when one cannot be made, or when something else has its name
 */
export function makeFolders(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' && dirname(path) !== path) {
      makeFolders(dirname(path));
      mkdirIfMissing(path);
    } else if (!isFolder(path)) {
      throw error;
    }
  }
}

function mkdirIfMissing(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another process was quicker (EEXIST), which is as good.
    if (!isFolder(path)) throw error;
  }
}

export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // ENOENT, ENOTDIR, EACCES, ELOOP: no folder that could be used.
    return false;
  }
}
