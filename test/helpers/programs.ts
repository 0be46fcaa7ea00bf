/** Real programs under test: each is registered, and ended by its PID when its test is over. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { fixture } from './paths.js';
import { eventually, MUST_HAPPEN_MS } from './waiting.js';

export interface Exit {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export class Program {
  readonly child: ChildProcess;
  /** Everything that the program has printed so far. */
  stdout = '';
  stderr = '';
  /** Messages received over IPC (fixtures only), oldest first. */
  readonly messages: unknown[] = [];
  readonly exited: Promise<Exit>;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    child.on('message', (message) => this.messages.push(message));
    this.exited = once(child, 'close').then(([exitCode, signal]) => ({
      exitCode: exitCode as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the program was not started');
    return this.child.pid;
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.child.kill(signal);
  }

  /** Waits until stdout matches, and returns the match. */
  async printed(pattern: RegExp): Promise<RegExpMatchArray> {
    return await eventually(
      `${pattern} is in the output of ${this.child.spawnfile}:\n${this.stdout}${this.stderr}`,
      () => {
        const match = this.stdout.match(pattern);
        if (match === null && !this.isAlive) {
          throw new Error(`ended before it printed ${pattern}:\n${this.stdout}${this.stderr}`);
        }
        return match;
      },
    );
  }

  /** Waits for the next message that no earlier call has taken. */
  async message<T = unknown>({ withinMs = MUST_HAPPEN_MS }: { withinMs?: number } = {}): Promise<T> {
    await eventually(
      `a message has arrived from ${this.child.spawnargs.join(' ')}\n${this.stderr}`,
      () => {
        if (this.messages.length === 0 && !this.isAlive) throw new Error(`ended without a message:\n${this.stderr}`);
        return this.messages.length > 0;
      },
      { everyMs: 1, withinMs },
    );
    return this.messages.shift() as T;
  }

  send(message: NonNullable<unknown>): void {
    this.child.send(message as object);
  }

  /** Waits for the program to end, and fails when that takes too long. */
  async ended({ withinMs = MUST_HAPPEN_MS }: { withinMs?: number } = {}): Promise<Exit> {
    await eventually(`PID ${this.pid} has ended`, () => !this.isAlive, { withinMs });
    return await this.exited;
  }
}

type Registry = Pick<TestContext, 'after'>;

/** Starts a program. If it still runs when the test is over, it is killed (SIGKILL, its PID alone). */
export function startProgram(
  test: Registry,
  command: string,
  args: readonly string[] = [],
  options: SpawnOptions = {},
): Program {
  const program = new Program(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options }));
  test.after(async () => {
    if (program.isAlive && program.child.pid !== undefined) {
      program.kill();
      await program.exited;
    }
  });
  return program;
}

interface FixtureOptions extends SpawnOptions {
  nodeArgs?: readonly string[];
  /**
   * A command in front of the program's command line, which replaces itself by it: `['setpriv',
   * '--bounding-set=-all']`.
   */
  behind?: readonly string[];
}

/** Starts a compiled fixture as a Node process of its own, with an IPC channel. */
export function startFixture(
  test: Registry,
  name: string,
  args: readonly string[] = [],
  { nodeArgs = [], behind = [], ...options }: FixtureOptions = {},
): Program {
  const [command = '', ...words] = [...behind, process.execPath, ...nodeArgs, fixture(name), ...args];
  return startProgram(test, command, words, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    ...options,
  });
}
