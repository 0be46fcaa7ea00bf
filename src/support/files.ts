import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { debugLog } from './debug.js';
import { errorText, isDenied } from './errors.js';

/** Level by level, with mode 0700: on Node 20.20 `fs.mkdirSync('/proc/x/y', { recursive: true })` never returns. */
export function makeFolders(path: string): void {
  if (isFolder(path)) return;
  if (!existsSync(dirname(path))) makeFolders(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // EEXIST: it was there, or another process was quicker.
    if (!isFolder(path)) throw error;
  }
}

export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    // ENOENT, ENOTDIR, EACCES, ELOOP: no folder that could be used.
    if (isDenied(error)) throw error;
    return false;
  }
}

/**
 * Opens a regular file, never through a symbolic link; one that is made is ours alone. O_NONBLOCK: opening a FIFO must not
 * block. O_NOCTTY: a terminal must not become this process's own.
 * @param see is shown what was opened
 * @throws the system's error, or an Error when it is something else than a regular file
 */
export function openRegularFile(path: string, flags: number, mode = 0o600, see?: (opened: Stats) => void): number {
  const fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY, mode);
  const opened = fstatSync(fd);
  see?.(opened);
  if (opened.isFile()) return fd;
  closeSync(fd);
  throw new Error('it is not a regular file');
}

/** Opens it as openRegularFile() does, for as long as `act` takes. */
export function withRegularFile<T>(path: string, flags: number, act: (fd: number) => T): T {
  const fd = openRegularFile(path, flags);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts a new file there in one step. One name for the drafts of all writers: only one writes at a time, or all write the same,
 * and a killed one leaves at most this file.
 * @param like whose owner and mode it gets; without it the file is ours, with mode 0600
 */
export function replaceFile(path: string, text: string, like?: Stats): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  try {
    withRegularFile(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, (fd) => {
      writeFileSync(fd, text);
      if (like === undefined) return;
      const { uid, gid, mode } = fstatSync(fd);
      // By the descriptor, for the name can lead elsewhere by now; not in vain, for Node's permission model denies both.
      if (uid !== like.uid || gid !== like.gid) fchownSync(fd, like.uid, like.gid);
      if (((mode ^ like.mode) & 0o777) !== 0) fchmodSync(fd, like.mode & 0o777);
    });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The path without symbolic links in its folder. The file itself is not looked at: it may be gone. */
export function realPath(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    // ENOENT, EACCES: then nothing that is open can have this name.
    return path;
  }
}

/** Closes it at the first call alone: afterwards the number can be somebody else's. */
export function closeOnce(fd: number): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
}

export function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch (error) {
    // ENOENT, EACCES, ENOTDIR, ELOOP: not one that this process can run.
    if (isDenied(error)) throw error;
    return false;
  }
}

const log = debugLog('folder');

export function userFolderPath(): string {
  // Not os.userInfo(): a user without an entry in the user database, as in many containers, has none.
  // Absolute, for TMPDIR may be relative, and the working directory may change until the folder is removed.
  return resolve(tmpdir(), `flock-process-${process.getuid?.()}`);
}

/** Where processes of one user meet, whatever their state folders are. Undefined when others may write to it, or it cannot be made. */
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

/** How we open a lock file to lock it: so it can be told from a descriptor that flock(1) or another program opened. */
export const LOCK_OPEN_FLAGS = constants.O_NONBLOCK | constants.O_NOFOLLOW;
