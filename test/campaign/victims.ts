/**
 * Processes that make one call each and are hit during the call. They are started ahead, so that no attempt waits for a
 * fresh one.
 */
import { once } from 'node:events';
import type { ProcessSpec } from '../../src/index.js';
import type { Order, Said } from '../fixtures/victim.js';
import { type Program, startFixture } from '../helpers/programs.js';

const AHEAD = 2;

export class Victim {
  readonly program: Program;
  /** Undefined when the process ends without having reported its outcome. */
  readonly outcome: Promise<Said | undefined>;
  readonly #up: Promise<unknown>;
  #saidUp = false;

  constructor(program: Program) {
    this.program = program;
    this.#up = once(program.child, 'message');
    this.outcome = new Promise((resolve) => {
      program.child.on('message', (said: Said) => {
        if (said.word !== 'up' && said.word !== 'called') resolve(said);
      });
      void program.exited.then(() => resolve(undefined));
    });
  }

  get pid(): number {
    return this.program.pid;
  }

  /** Resolves when the process has made the call. */
  async call(method: Order['method'], spec: ProcessSpec): Promise<void> {
    if (!this.#saidUp) await this.#up;
    this.#saidUp = true;
    const called = once(this.program.child, 'message');
    this.program.send({ method, spec } satisfies Order);
    await called;
  }

  /** Tells a supervisor to end its supervision and leave the process running. */
  letGo(): void {
    this.program.send('end');
  }

  async kill(): Promise<void> {
    this.program.kill();
    await this.program.exited;
  }
}

export class Victims {
  readonly #start: () => Victim;
  readonly #ahead: Victim[] = [];

  constructor(registry: Parameters<typeof startFixture>[0]) {
    this.#start = () => new Victim(startFixture(registry, 'victim'));
  }

  next(): Victim {
    while (this.#ahead.length < AHEAD) this.#ahead.push(this.#start());
    return this.#ahead.shift() as Victim;
  }
}
