/**
 * Opening a lock file, safely: never through a symbolic link, never something that is no regular file, never at a
 * descriptor that means something to others.
 */

import { type BigIntStats, closeSync, constants, fstatSync, lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode } from '../support/errors.js';
import { LOCK_OPEN_FLAGS, makeFolders, openRegularFile } from '../support/files.js';
import { warnOfFileSystem } from './file-system.js';

/** Opens the lock file to lock it; makes it, and its folders, when it is missing. The descriptor is above 3. */
export function openLockFile(path: string, mode: number): number {
  const open = () => openOrCreate(path, mode);
  let fd: number;
  try {
    fd = open();
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    makeFolders(dirname(path));
    fd = open();
  }
  return aboveInheritedDescriptors(fd, open);
}

/** Opens an existing lock file to ask about it. */
export function openForQuestion(path: string): number {
  return openAndWarn(path, constants.O_RDONLY);
}

/** Does the path still lead to the file that is open at this descriptor? */
export function isSameFile(fd: number, path: string): boolean {
  const atPath: BigIntStats | undefined = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (atPath === undefined) return false;
  const opened = fstatSync(fd, { bigint: true });
  return atPath.ino === opened.ino && atPath.dev === opened.dev;
}

/**
 * O_CREAT for a file that is missing only: with `fs.protected_regular` (on by default under systemd) Linux refuses it on
 * another user's existing file in /tmp, be that writable for everybody.
 */
function openOrCreate(path: string, mode: number): number {
  try {
    return openAndWarn(path, LOCK_OPEN_FLAGS);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return openAndWarn(path, LOCK_OPEN_FLAGS | constants.O_CREAT, mode);
  }
}

/**
 * Descriptor 3 is where a managed process carries its lock, so who has the lock there is taken for one. A forked Node
 * child that disconnected its IPC channel gets 3 from its next open: keep that one busy until there is a higher one.
 */
function aboveInheritedDescriptors(fd: number, open: () => number): number {
  if (fd > 3) return fd;
  try {
    return aboveInheritedDescriptors(open(), open);
  } finally {
    closeSync(fd);
  }
}

function openAndWarn(path: string, flags: number, mode?: number): number {
  const fd = openRegularFile(path, flags, mode);
  warnOfFileSystem(path, fd);
  return fd;
}
