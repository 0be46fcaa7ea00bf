import { lstatSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debugLog } from './debug.js';
import { errorText } from './error-text.js';
import { makeFolders } from './folders.js';

const log = debugLog('folder');

/** Where `userFolder()` looks: TMP/flock-process-UID. */
export function userFolderPath(): string {
  // Not os.userInfo(): a user without an entry in the user database, as in many containers, has none.
  return join(tmpdir(), `flock-process-${process.getuid?.()}`);
}

/**
 * This user's own folder under the system's temp folder, TMP/flock-process-UID: where processes of one user meet whatever
 * their state folders are. Undefined when it cannot be made, or somebody else made it or may write to it.
 */
export function userFolder(): string | undefined {
  const folder = userFolderPath();
  try {
    makeFolders(folder);
    const found = lstatSync(folder);
    if (found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0) return folder;
    log('%s is not ours', folder);
  } catch (error) {
    log('cannot use %s: %s', folder, errorText(error));
  }
  return undefined;
}
