/** Users of shared instances in other processes, and what the operating system reports of such an instance. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { isLocked, type Preset, type ProcessSpec } from '../../src/index.js';
import type { Answer, Call, Joined, UserOptions } from '../fixtures/shared-user.js';
import { isRunning, processesIn } from './outside-view.js';
import { type Program, startFixture } from './programs.js';
import { RemoteError } from './remote-manager.js';
import { eventually } from './waiting.js';

export interface RedisOptions {
  stateDir?: string;
  port?: number;
  /** Further arguments at the end of its command line. */
  args?: readonly string[];
}

/** A stock redis-server without persistence, as a preset. */
export const redisPreset: Preset<RedisOptions> = ({ stateDir = '', port = 0, args = [] }): ProcessSpec => ({
  name: 'redis',
  command: 'redis-server',
  args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir, ...args],
  port,
  stateDir,
});

let keys = 0;

/** A key that no other test has. */
export function ownKey(): string {
  keys += 1;
  return `test-${process.pid}-${keys}`;
}

/** A process that joins and leaves a shared instance on command. */
export class SharedUser {
  readonly program: Program;
  readonly #calls = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #lastId = 0;

  constructor(program: Program) {
    this.program = program;
    program.child.on('message', (answer: Answer) => {
      this.#calls.get(answer.id)?.resolve(answer);
      this.#calls.delete(answer.id);
    });
    void program.exited.then(({ stderr }) => {
      for (const { reject } of this.#calls.values()) reject(new Error(`the user ended before it answered: ${stderr}`));
    });
  }

  join(): Promise<Joined> {
    return this.#call('join') as Promise<Joined>;
  }

  async leave(): Promise<void> {
    await this.#call('leave');
  }

  kill(): void {
    this.program.kill();
  }

  async #call(call: Call['call']): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
    });
    this.program.send({ id, call } satisfies Call);
    const { error, joined } = await answered;
    if (error !== undefined) throw new RemoteError(error);
    return joined;
  }
}

/** Starts a process that waits for commands; it is not a user yet. */
export async function startUser(
  test: Pick<TestContext, 'after'>,
  options: UserOptions,
  spawnOptions: Parameters<typeof startFixture>[3] = {},
): Promise<SharedUser> {
  const program = startFixture(test, 'shared-user', [JSON.stringify(options)], spawnOptions);
  await program.message();
  return new SharedUser(program);
}

export async function startUsers(
  test: Pick<TestContext, 'after'>,
  count: number,
  options: UserOptions,
): Promise<[SharedUser, SharedUser, ...SharedUser[]]> {
  const users = await Promise.all(Array.from({ length: count }, () => startUser(test, options)));
  return users as [SharedUser, SharedUser, ...SharedUser[]];
}

/** The folder that holds the folders of all shared instances of this user. */
export function sharedFolder(temp = tmpdir()): string {
  return join(temp, `flock-process-${process.getuid?.()}`, 'shared');
}

/**
 * PIDs of all processes that have a file of this instance open: its server, the watcher and the watcher's flock, and
 * its users.
 */
export function processesOf(key: string, temp = tmpdir()): number[] {
  const folder = sharedFolder(temp);
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith(`${key}.`)) : [];
  const paths = [join(folder, key), ...files.map((name) => join(folder, name))];
  return [...new Set(paths.flatMap(processesIn))].filter(isRunning);
}

/** Waits until the lock is free and no process is left except those in `but`. @returns the milliseconds that it took */
export async function nothingIsLeft(key: string, but: readonly number[] = [], temp = tmpdir()): Promise<number> {
  const begin = performance.now();
  const others = () => processesOf(key, temp).filter((pid) => !but.includes(pid));
  await eventually(
    `no process of ${key} is left, and its lock is free`,
    () => others().length === 0 && !isLocked(lockFileOf(key, temp)),
    { everyMs: 2 },
  );
  return performance.now() - begin;
}

export function lockFileOf(key: string, temp = tmpdir()): string {
  return join(sharedFolder(temp), `${key}.lock`);
}

/**
 * Memory of one process in KiB, as the kernel counts it: all mapped pages (rss), and shared pages divided among their
 * users (pss).
 */
export function memoryOf(pid: number): { rss: number; pss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]);
  return { rss: field('Rss'), pss: field('Pss') };
}
