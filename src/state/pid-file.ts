/**
 * The PID file: three lines, PID, command name, start time as a Unix second. A cache and a hint, never the truth:
 * whatever stands in it is read in bounded time and proven before anybody acts on it.
 */

import { closeSync, constants, lstatSync, openSync, readSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isLocked } from '../lock/file-lock.js';
import { tryFlock } from '../lock/flock.js';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { makeFolders, openRegularFile } from '../support/files.js';

export interface ProcessRecord {
  pid: number;
  /** Unix seconds; undefined in a file that holds a lone PID. */
  startTime: number | undefined;
}

const log = debugLog('record');

/** Three lines are shorter than this: longer is no record. */
const MAX_BYTES = 1024;

/** Undefined when there is none, or nothing that can be one. */
export function readRecord(pidFile: string): ProcessRecord | undefined {
  try {
    return parse(readStart(pidFile));
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') log('cannot read %s: %s', pidFile, errorText(error));
    return undefined;
  }
}

/** A record whose writer is still starting the process: the file is locked until `release()`, or the writer's end. */
export interface HeldRecord {
  release(): void;
}

/**
 * Replaces the file in one step, locked. A failure is a line in the log: the record is a cache, and everything works without
 * it.
 */
export function writeRecord(pidFile: string, record: Required<ProcessRecord>, commandName: string): HeldRecord {
  // One name for all writers: they hold the lock or write the same facts, and a killed one leaves at most this file.
  const draft = `${pidFile}.new`;
  let fd: number | undefined;
  const release = () => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  };
  try {
    makeFolders(dirname(pidFile));
    removeFile(draft);
    fd = openSync(draft, 'wx', 0o600);
    writeFileSync(fd, `${record.pid}\n${commandName}\n${Math.floor(record.startTime ?? 0)}\n`);
    tryFlock(fd, 'ex');
    renameSync(draft, pidFile);
    log('recorded PID %d in %s', record.pid, pidFile);
  } catch (error) {
    log('cannot write %s: %s', pidFile, errorText(error));
    release();
    removeRecord(draft);
  }
  return { release };
}

/** When the record was written; undefined when there is none. Unix milliseconds. */
export function recordTime(pidFile: string): number | undefined {
  try {
    return Math.round(lstatSync(pidFile).mtimeMs);
  } catch {
    // ENOENT, EACCES, ENOTDIR: no record that could be read.
    return undefined;
  }
}

/** Is the start that wrote the record still under way? */
export function isRecordHeld(pidFile: string): boolean {
  return isLocked(pidFile);
}

export function removeRecord(pidFile: string): void {
  try {
    removeFile(pidFile);
  } catch (error) {
    log('cannot remove %s: %s', pidFile, errorText(error));
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

function readStart(path: string): string {
  const fd = openRegularFile(path, constants.O_RDONLY);
  try {
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    const length = readSync(fd, buffer, 0, buffer.length, 0);
    if (length > MAX_BYTES) throw new Error('it is too long for a PID file');
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

function parse(text: string): ProcessRecord | undefined {
  const [pidLine = '', , startLine] = text.split('\n');
  const pid = wholeNumber(pidLine);
  // 0 and 1 are never a process that we started, and to kill(2) 0 and negative ones are whole groups.
  if (pid === undefined || pid <= 1 || pid > 0x7fffffff) return undefined;
  return { pid, startTime: startLine === undefined ? undefined : wholeNumber(startLine) };
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;
}
