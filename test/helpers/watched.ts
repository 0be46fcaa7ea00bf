/**
 * Only the watcher of a shared process, under each shell that some system has as /bin/sh, with each program that can
 * wait for the last user.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { tryFlock } from '../../src/lock/flock.js';
import { whereIs } from './path-with-only.js';
import { type Program, startProgram } from './programs.js';
import { temporaryFolder } from './resources.js';
import { argumentsOf, watcherArguments } from './tied.js';
import { eventually } from './waiting.js';

export const SHELLS = [['dash'], ['bash', '--posix'], ['busybox', 'sh']] as const;

interface Watched {
  readonly program: Program;
  readonly lockFile: string;
  readonly usersFile: string;
  /** Releases the shared lock of the only user. */
  leave(): void;
}

/** Starts `sleep 300` under a watcher, with one user. Resolves when the shell has replaced itself by the command. */
export async function startWatchedByUsers(
  test: Parameters<typeof startProgram>[0],
  [shell, ...words]: (typeof SHELLS)[number],
  { tool, lingerMs = 0 }: { tool: 'flock' | 'perl'; lingerMs?: number },
): Promise<Watched> {
  const folder = temporaryFolder(test);
  const [lockFile, usersFile] = [join(folder, 'x.lock'), join(folder, 'x.users')];
  const [lock, user, watched] = [openSync(lockFile, 'w'), openSync(usersFile, 'w'), openSync(usersFile, 'r+')];
  assert.equal(tryFlock(user, 'sh'), true);
  const args = watcherArguments('shared', 'TERM', '10000', whereIs(tool), String(lingerMs), 'sleep', '300');
  const program = startProgram(test, shell, [...words, ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', lock, watched],
  });
  closeSync(lock);
  closeSync(watched);
  await eventually('the server runs', () => argumentsOf(program.pid)[0] === 'sleep');
  return { program, lockFile, usersFile, leave: () => closeSync(user) };
}
