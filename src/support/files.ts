import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { debugLog } from './debug.js';
import { errorCode, errorText } from './errors.js';

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

/**
 * Opens a regular file, never through a symbolic link. O_NONBLOCK: opening a FIFO must not block. O_NOCTTY: a terminal must
 * not become this process's own.
 * @throws the system's error, or an Error when it is something else than a regular file
 */
export function openRegularFile(path: string, flags: number, mode?: number): number {
  const fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY, mode);
  let isRegular = false;
  try {
    isRegular = fstatSync(fd).isFile();
  } finally {
    if (!isRegular) closeSync(fd);
  }
  if (!isRegular) throw new Error('it is not a regular file');
  return fd;
}

/** Opens a regular file as openRegularFile() does, for as long as `act` takes. @throws the same; what `act` throws */
export function withRegularFile<T>(path: string, flags: number, act: (fd: number) => T): T {
  const fd = openRegularFile(path, flags);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts a new file (0600) there in one step. One name for the drafts of all writers: only one writes at a time, or all write
 * the same, and a killed one leaves at most this file.
 * @throws the system's error
 */
export function replaceFile(path: string, text: string): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  try {
    writeFileSync(draft, text, { flag: 'wx', mode: 0o600 });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** Closes it, the first time that it is called: afterwards the number can be somebody else's. */
export function closeOnce(fd: number): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
}

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

/**
 * How every lock file is opened by a process that wants the lock. A descriptor that carries these flags can be told from one
 * that flock(1) or another program opened.
 */
export const LOCK_OPEN_FLAGS = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW;
