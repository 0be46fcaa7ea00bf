/** A ProcessManager in another process, whose methods are called from here. */
import { EventEmitter, once } from 'node:events';
import type { Instance, ProcessSpec, Status, StopResult } from '../../src/index.js';
import type { Answer, Call, Event } from '../fixtures/remote-manager.js';
import { type Program, startFixture } from './programs.js';

/** The error that a call in the other process threw, with the name and the fields of the original. */
export class RemoteError extends Error {
  readonly code: string | undefined;

  constructor(error: NonNullable<Answer['error']>) {
    super(error.message);
    Object.assign(this, error);
    this.name = error.name;
    this.code = error.code;
  }
}

export class RemoteManager extends EventEmitter<{ event: [Event] }> {
  readonly program: Program;
  /** Every event so far, oldest first. */
  readonly events: Event[] = [];
  readonly #calls = new Map<number, (answer: Answer | undefined) => void>();
  #lastId = 0;

  constructor(program: Program) {
    super();
    this.program = program;
    program.child.on('message', (message: Answer | Event) => {
      if ('event' in message) {
        this.events.push(message);
        this.emit('event', message);
      } else {
        this.#calls.get(message.id)?.(message);
        this.#calls.delete(message.id);
      }
    });
    // A killed process answers no call: `settle` gives undefined for its calls, and other calls throw here.
    void program.exited.then(() => {
      for (const finish of this.#calls.values()) finish(undefined);
    });
  }

  start(options: { abortAfterMs?: number } = {}): Promise<Instance> {
    return this.#call('start', options) as Promise<Instance>;
  }

  stop(options: { abortAfterMs?: number } = {}): Promise<StopResult> {
    return this.#call('stop', options) as Promise<StopResult>;
  }

  restart(options: { abortAfterMs?: number } = {}): Promise<Instance> {
    return this.#call('restart', options) as Promise<Instance>;
  }

  status(): Promise<Status> {
    return this.#call('status') as Promise<Status>;
  }

  async leave(): Promise<void> {
    await this.#call('leave');
  }

  /** @returns the PID of the process that has become the managed one */
  become(options: { abortAfterMs?: number } = {}): Promise<number> {
    return this.#call('become', options) as Promise<number>;
  }

  /** Calls ready() of the result of become(). */
  async ready(): Promise<void> {
    await this.#call('ready');
  }

  async release(): Promise<void> {
    await this.#call('release');
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.program.kill(signal);
  }

  async #call(method: Call['method'], options: { abortAfterMs?: number } = {}): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<Answer | undefined>((resolve) => this.#calls.set(id, resolve));
    if (!this.program.isAlive || !this.program.child.connected) throw new KilledError();
    this.program.child.send({ id, method, ...options } satisfies Call);
    const answer = await answered;
    if (answer === undefined) throw new KilledError();
    if (answer.error !== undefined) throw new RemoteError(answer.error);
    return answer.result;
  }
}

/** The process of the remote manager ended before it answered. */
export class KilledError extends Error {}

/** The spec as text that keeps a RegExp, which JSON would lose. */
function textOf(spec: ProcessSpec): string {
  const asPlain = (_key: string, value: unknown) =>
    value instanceof RegExp ? { source: value.source, flags: value.flags } : value;
  return JSON.stringify(spec, asPlain);
}

/**
 * Starts a process that waits for calls. Functions in the spec are not sent. After the test it alone is killed, not
 * what it started.
 */
export async function startRemoteManager(
  test: Parameters<typeof startFixture>[0],
  spec: ProcessSpec,
  options: Parameters<typeof startFixture>[3] = {},
): Promise<RemoteManager> {
  const remote = new RemoteManager(startFixture(test, 'remote-manager', [textOf(spec)], options));
  await Promise.race([
    once(remote, 'event'),
    remote.program.exited.then(({ stderr }) => {
      throw new Error(`the remote manager ended: ${stderr}`);
    }),
  ]);
  return remote;
}
