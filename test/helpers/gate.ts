/** A health check that does not answer before it is told to: whoever asks is at a known place meanwhile. */
import assert from 'node:assert/strict';
import type { Instance } from '../../src/index.js';
import { MUST_HAPPEN_MS } from './waiting.js';

export class Gate {
  /** Resolves when somebody asks. */
  readonly asked: Promise<Instance>;
  #ask: (instance: Instance) => void = () => undefined;
  #open: () => void = () => undefined;
  readonly #opened: Promise<void>;

  constructor() {
    this.asked = new Promise((resolve) => {
      this.#ask = resolve;
    });
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  /** To be awaited inside the health check. */
  async pass(instance: Instance): Promise<void> {
    this.#ask(instance);
    await this.#opened;
  }

  open(): void {
    this.#open();
  }
}

/** Of a promise that may have settled: what it is now. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<T | Error> {
  return await promise.catch((error: Error) => error);
}

/** The same, and how long it took. */
export async function timed<T>(promise: Promise<T>): Promise<{ outcome: T | Error; ms: number }> {
  const began = performance.now();
  const outcome = await outcomeOf(promise);
  return { outcome, ms: performance.now() - began };
}

/** The same, for what must not outlast its own limit, which is far below this one. */
export async function timely<T>(promise: Promise<T>): Promise<{ outcome: T | Error; ms: number }> {
  const result = await timed(promise);
  assert.ok(result.ms < MUST_HAPPEN_MS, `${result.ms} ms`);
  return result;
}
