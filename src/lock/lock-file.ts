/**
 * Opens a lock file safely: never through a symbolic link, never something that is no regular file, never at a
 * descriptor that means something to others, and on a doubtful file system with a warning.
 */

import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import {
  assertSupportedPlatform,
  errorCode,
  errorText,
  FlockProcessError,
  LockUnavailableError,
} from '../support/errors.js';
import { LOCK_OPEN_FLAGS, makeFolders, openRegularFile } from '../support/files.js';
import { check, isText } from '../support/options.js';

/**
 * File systems on which a lock may not mean what it means on a local disk, by their number in statfs(2), from
 * linux/magic.h: they are recognised on Linux only. virtiofs has the number of FUSE.
 */
const DOUBTFUL_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'SMB'],
  [0xfe534d42, 'SMB'],
  [0x01021997, '9p'],
  [0x65735546, 'FUSE or virtiofs'],
]);

const knownDevices = new Set<number>();

export type LockFile = { path: string; mode: number };

/** @throws TypeError | UnsupportedPlatformError | LockUnavailableError */
export function lockFileOf(path: string, { mode = 0o600 }: { mode?: number }): LockFile {
  assertSupportedPlatform();
  check('path', path, isText, 'a non-empty string without NUL');
  const isPermission = (it: unknown) => Number.isInteger(it) && Number(it) >= 0 && Number(it) <= 0o777;
  check('mode', mode, isPermission, 'permission bits between 0 and 0o777');
  // resolve() throws in a working directory that was removed.
  return asLockUnavailable(path, 'examine', () => ({ path: resolve(path), mode }));
}

/** Opens the lock file to lock it; creates it, and its folders, when it is missing. The descriptor is above 3. */
export function openLockFile(path: string, mode: number): number {
  const fd = openExisting(path) ?? createLockFile(path, mode);
  if (fd > 3) return fd;
  // Descriptor 3 is where a managed process carries its lock, so a process that has a lock there is taken for one. A
  // forked Node child that disconnected its IPC channel gets 3 from its next open: 3 is kept busy until a higher one is
  // open.
  try {
    return openLockFile(path, mode);
  } finally {
    closeSync(fd);
  }
}

export function openIfThere(path: string, flags: number): number | undefined {
  try {
    return openAndWarn(path, flags);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** Does the path still lead to the file that is open at this descriptor? */
export function isSameFile(fd: number, path: string): boolean {
  const atPath = entryAt(path);
  const opened = fstatSync(fd, { bigint: true });
  return atPath?.ino === opened.ino && atPath.dev === opened.dev;
}

/** Undefined when there is nothing, or a parent is no folder (for which some releases of Node throw). */
function entryAt(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) throw error;
    return undefined;
  }
}

/** @throws LockUnavailableError, which names the file, for an error of the system */
export function asLockUnavailable<T>(path: string, verb: 'lock' | 'unlock' | 'examine', act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof FlockProcessError) throw error;
    throw new LockUnavailableError(`Cannot ${verb} "${path}": ${errorText(error)}`, { path, cause: error });
  }
}

/** Another user's file, a read-only file system, a running program: flock(2) needs no more than an open descriptor. */
const NOT_WRITABLE = ['EACCES', 'EPERM', 'EROFS', 'ETXTBSY'];

/** Opens for writing where permitted: the PID of the process is written, and NFS locks no other descriptors. */
function openExisting(path: string): number | undefined {
  try {
    return openIfThere(path, LOCK_OPEN_FLAGS | constants.O_RDWR);
  } catch (error) {
    if (!NOT_WRITABLE.includes(errorCode(error) ?? '')) throw error;
    return openIfThere(path, LOCK_OPEN_FLAGS | constants.O_RDONLY);
  }
}

/**
 * O_CREAT is for a missing file only: with `fs.protected_regular` (on by default under systemd) Linux refuses it on
 * another user's existing file in /tmp, even if everybody may write to that.
 */
function createLockFile(path: string, mode: number): number {
  makeFolders(dirname(path));
  return openAndWarn(path, LOCK_OPEN_FLAGS | constants.O_RDWR | constants.O_CREAT, mode);
}

function openAndWarn(path: string, flags: number, mode?: number): number {
  return openRegularFile(path, flags, mode, ({ dev }) => {
    // Each device is checked once: at every lock the check would be a fifth of its cost.
    if (!knownDevices.has(dev)) warnOfFileSystem(path);
    knownDevices.add(dev);
  });
}

function warnOfFileSystem(path: string): void {
  let type: number;
  try {
    // On a 32-bit system numbers above 2^31 are negative.
    type = statfsSync(path).type >>> 0;
  } catch {
    // ENOENT: deleted meanwhile. ENOSYS: the file system does not say. Only the warning is lost, not the lock.
    return;
  }
  const name = DOUBTFUL_FILE_SYSTEMS.get(type);
  if (name === undefined) return;
  const message = `The lock file "${path}" is on ${name}, where a lock may not reach all who see the file, or may be lost with a connection. Keep it on a local disk`;
  process.emitWarning(message, { type: 'FlockProcessWarning', code: 'FLOCK_PROCESS_FILE_SYSTEM' });
}
