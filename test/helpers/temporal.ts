/** The real Temporal CLI for tests. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { projectRoot } from './paths.js';

/**
 * The Temporal CLI on PATH, or else the one that the set-up fetched. @throws Error when there is neither, so that the
 * test fails
 */
export function temporalBinary(): string {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'));
  const fetched = join(projectRoot, '.cache/temporal/bin/temporal');
  const found = [...onPath, fetched].find(isExecutableFile);
  if (found === undefined) throw new Error('there is no temporal, on PATH or in .cache: "npm run setup" fetches it');
  return found;
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // ENOENT, ENOTDIR, EACCES: this file cannot be run.
    return false;
  }
}
