/**
 * The PID file, and the PID in the lock file: for people and for other tools, never trusted. The PID file has three
 * lines, PID, command name, start time as a Unix second; a lone PID is understood too. A file that names a living
 * process which is not proven ours is left as it is: it may be the only way for another tool to stop that process.
 */

import { constants, fstatSync, ftruncateSync, readSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { FileLock } from '../lock/held-lock.js';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { makeFolders, replaceFile, withRegularFile } from '../support/files.js';
import { type ProcessInfo, processTable } from '../system/process-table.js';
import type { CompleteSpec } from './process-spec.js';

const log = debugLog('pid-file');

/** Three lines are shorter than this: a longer file is no PID file. */
const MAX_BYTES = 1024;

/** The start time is in Unix seconds; undefined in a file that holds a lone PID. */
type PidRecord = { pid?: number; startTime?: number | undefined; writtenMs?: number };

export function isNamedIn(pidFile: string, { pid }: Pick<ProcessInfo, 'pid'>): boolean {
  try {
    return readRecord(pidFile).pid === pid;
  } catch (error) {
    log('cannot read %s: %s', pidFile, errorText(error));
    return false;
  }
}

/** A failure is only a line in the log: everything works without the file. */
export function writePidFile({ pidFile, command }: Pick<CompleteSpec, 'pidFile' | 'command'>, info: ProcessInfo): void {
  try {
    if (isLiving(readRecord(pidFile))) return;
    makeFolders(dirname(pidFile));
    const startTime = Math.floor(processTable().startTime(info));
    replaceFile(pidFile, `${info.pid}\n${basename(command)}\n${startTime}\n`);
    log('%s names PID %d', pidFile, info.pid);
  } catch (error) {
    log('cannot write %s: %s', pidFile, errorText(error));
  }
}

/** To be called when our process is gone, or is this very one: any other living process that is named is a stranger. */
export function removePidFile(pidFile: string, ownPid?: number): void {
  try {
    const named = readRecord(pidFile);
    if (named.pid === ownPid || !isLiving(named)) rmSync(pidFile, { force: true });
  } catch (error) {
    log('cannot remove %s: %s', pidFile, errorText(error));
  }
}

/**
 * To be called under the lock; undefined empties the file. Writes only into a file with one link that is empty or holds
 * one decimal number, and only if that names no other living process.
 */
export function writeLockFilePid({ fd, path }: Pick<FileLock, 'fd' | 'path'>, pid: number | undefined): void {
  try {
    const text = readText(fd);
    if (fstatSync(fd).nlink !== 1 || text.length > MAX_BYTES || !/^\d*\s*$/.test(text)) return;
    const named = parse(text);
    if (named.pid !== process.pid && isLiving(named)) return;
    const line = pid === undefined ? '' : `${pid}\n`;
    // In this order the first line always names a process: Stigmer's tool deletes a file that names none.
    writeSync(fd, line, 0);
    ftruncateSync(fd, line.length);
  } catch (error) {
    log('cannot write into %s: %s', path, errorText(error));
  }
}

function isLiving({ pid, startTime }: PidRecord): boolean {
  if (pid === undefined) return false;
  const info = processTable().lookUp(pid);
  if (info === undefined) return processTable().isHidden(pid);
  if (info.isZombie) return false;
  // Wall clock and boot time are each rounded to a second when the file is written.
  return startTime === undefined || Math.abs(processTable().startTime(info) - startTime) <= 2;
}

/** The living process that the file names, unless it is this one, and when the file was last written. */
export function livingNamed(pidFile: string): { process: ProcessInfo; writtenMs: number } | undefined {
  const { writtenMs = 0, ...named } = readRecord(pidFile);
  if (named.pid === undefined || named.pid === process.pid || !isLiving(named)) return undefined;
  const found = processTable().lookUp(named.pid);
  return found && { process: found, writtenMs };
}

/** No PID when there is no file, or it names none. @throws the system's error, above all EACCES */
function readRecord(pidFile: string): PidRecord {
  try {
    return withRegularFile(pidFile, constants.O_RDONLY, (fd) => ({
      ...parse(readText(fd)),
      writtenMs: fstatSync(fd).mtimeMs,
    }));
  } catch (error) {
    // ELOOP: a symbolic link names nobody. ENXIO: a socket. No code: something else that is not a regular file.
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', undefined].includes(errorCode(error))) return {};
    throw error;
  }
}

function readText(fd: number): string {
  const buffer = Buffer.alloc(MAX_BYTES + 1);
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
}

function parse(text: string): PidRecord {
  const numbers = text.split('\n').map((line) => (/^\d{1,15}$/.test(line.trim()) ? Number(line) : undefined));
  const [pid = 0, , startTime] = numbers;
  // 0 and 1 are never a process that we started, and kill(2) takes 0 and negative numbers as whole groups.
  return text.length > MAX_BYTES || pid <= 1 || pid > 0x7fffffff ? {} : { pid, startTime };
}
