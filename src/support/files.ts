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

/** Makes folders one by one (0700): Node 20.20 never returns from `fs.mkdirSync('/proc/x/y', { recursive: true })`. */
export function makeFolders(path: string): void {
  if (isFolder(path)) return;
  if (!existsSync(dirname(path))) makeFolders(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // EEXIST: the folder was there, or another process was quicker.
    if (!isFolder(path)) throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    // ENOENT, ENOTDIR, EACCES, ELOOP: there is no folder that can be used.
    if (isDenied(error)) throw error;
    return false;
  }
}

/**
 * Opens a regular file, never through a symbolic link. Only this user may use a file that it creates, unless `mode`
 * says otherwise. O_NONBLOCK: opening a FIFO must not block. O_NOCTTY: a terminal must not become this process's own.
 * @param see is called with the status of what was opened
 * @throws the system's error, or an Error when it is something else than a regular file
 */
export function openRegularFile(path: string, flags: number, mode = 0o600, see?: (opened: Stats) => void): number {
  const fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY, mode);
  const opened = fstatSync(fd);
  if (!opened.isFile()) {
    closeSync(fd);
    throw new Error('it is not a regular file');
  }
  see?.(opened);
  return fd;
}

/** Opens the file as openRegularFile() does, and closes it after `act`. */
export function withRegularFile<T>(path: string, flags: number, act: (fd: number) => T): T {
  const fd = openRegularFile(path, flags);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts a new file at the path in one step. All writers use one name for their draft: only one writes at a time, or all
 * write the same, and a killed one leaves at most this file.
 * @param like the file whose owner and mode the new one gets; without it the file is ours, with mode 0600
 */
export function replaceFile(path: string, text: string, like?: Stats): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  try {
    withRegularFile(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, (fd) => {
      writeFileSync(fd, text);
      if (like === undefined) return;
      const { uid, gid, mode } = fstatSync(fd);
      // Both take the descriptor, since the name can lead elsewhere by now. They are called only on a difference, since
      // Node's permission model denies both.
      if (uid !== like.uid || gid !== like.gid) fchownSync(fd, like.uid, like.gid);
      if (((mode ^ like.mode) & 0o777) !== 0) fchmodSync(fd, like.mode & 0o777);
    });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The path without symbolic links in its folder. The file itself need not exist. */
export function realPath(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    // ENOENT, EACCES: then no open file can have this name.
    return path;
  }
}

/** Only the first call closes the descriptor: afterwards its number can belong to another file. */
export function closeOnce(fd: number): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
}

export function isExecutableFile(path: string): boolean {
  try {
    // stat(2) first: it says without an exception that there is no such file, as in most folders of PATH.
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    // EACCES, ELOOP: this process cannot run it.
    if (isDenied(error)) throw error;
    return false;
  }
}

const log = debugLog('folder');

export function userFolderPath(): string {
  // os.userInfo() fails for a user without an entry in the user database, as in many containers. The path is absolute
  // because TMPDIR may be relative, and the working directory may change before the folder is removed.
  return resolve(tmpdir(), `flock-process-${process.getuid?.()}`);
}

/** The one folder of all processes of a user. Undefined when others may write to it, or it cannot be made. */
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

/** The flags with which we open a lock file to lock it: flock(1) and other programs open it with others. */
export const LOCK_OPEN_FLAGS = constants.O_NONBLOCK | constants.O_NOFOLLOW;
