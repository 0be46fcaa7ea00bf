/**
 * The watcher of a tied or shared process, seen from Node: how it is started, and how it is told from the process.
 * What it does stands in watcher.sh, which the build makes a constant of: neither a bundle nor an archive has a file beside it.
 */

import type { ChildProcess, StdioOptions } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { WATCHED_FD, WATCHER_NAME } from '../inspect/watcher.js';
import { waitingCommand } from '../lock/flock.js';
import { openLockFile } from '../lock/lock-file.js';
import { besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { WATCHER_TEXT } from './watcher-text.js';

export interface Tether {
  readonly command: string;
  readonly args: readonly string[];
  /** What the child has at descriptor 4. */
  readonly watched: Extract<StdioOptions, unknown[]>[number];
  /** To be called when it was spawned. */
  attach(child: ChildProcess): void;
  /** To be called when it was spawned, or could not be. */
  close(): void;
}

const { signals } = constants;

/** Shell arithmetic has at least 32 bits; this is 24 days. */
const MAX_GRACE_MS = 0x7fffffff;

/**
 * Undefined for a detached process.
 * @throws SpawnError when env(1) cannot run the executable
 * @throws FlockBindingError when the process is shared and nothing on PATH can wait for a lock
 */
export function tetherFor(spec: CompleteSpec, executable: string): Tether | undefined {
  if (spec.lifetime === 'detached') return undefined;
  const waiting = spec.lifetime === 'shared' ? waitingCommand(WATCHED_FD) : undefined;
  const args = [
    '-c',
    WATCHER_TEXT,
    WATCHER_NAME,
    spec.lifetime,
    // By number: shells do not know all names (SIGIOT, SIGSTKFLT).
    String(signals[spec.stopSignal]),
    String(Math.ceil(Math.min(spec.stopTimeoutMs, MAX_GRACE_MS))),
    ...(waiting === undefined ? [] : [String(waiting.length), ...waiting]),
    executable,
    ...spec.args,
  ];
  const watched = waiting === undefined ? watchedPipe() : watchedUsers(spec);
  return { command: '/bin/sh', args, ...watched };
}

/** Nobody writes into it; its end is closed with the process, with its owner, or by `exit` of the process. */
function watchedPipe(): Pick<Tether, 'watched' | 'attach' | 'close'> {
  return {
    watched: 'pipe',
    attach: (child) => {
      const pipe = child.stdio[WATCHED_FD] as Socket;
      pipe.unref();
      pipe.on('error', () => undefined); // The other end is closed when the watcher goes first.
      child.once('exit', () => pipe.destroy());
    },
    close: () => undefined,
  };
}

/** An open file of its own: the watcher must not share our LOCK_SH. */
function watchedUsers(spec: CompleteSpec): Pick<Tether, 'watched' | 'attach' | 'close'> {
  const fd = openLockFile(besideLockFile(spec, 'users'), 0o600);
  return { watched: fd, attach: () => undefined, close: () => closeSync(fd) };
}
