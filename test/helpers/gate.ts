/** A health check that does not answer until the test opens it, so that its caller is held at a known place. */
import assert from 'node:assert/strict';
import type { Instance } from '../../src/index.js';
import { MUST_HAPPEN_MS } from './waiting.js';

export class Gate {
  /** Resolves when the health check is called. */
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

  /** The health check awaits this. */
  async pass(instance: Instance): Promise<void> {
    this.#ask(instance);
    await this.#opened;
  }

  open(): void {
    this.#open();
  }
}

/** The result of the promise, or the error that rejected it. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<T | Error> {
  return await promise.catch((error: Error) => error);
}

/** The same, with the time that it took. */
export async function timed<T>(promise: Promise<T>): Promise<{ outcome: T | Error; ms: number }> {
  const began = performance.now();
  const outcome = await outcomeOf(promise);
  return { outcome, ms: performance.now() - began };
}

/** The same, for a promise whose own time limit is far below the limit here. */
export async function timely<T>(promise: Promise<T>): Promise<{ outcome: T | Error; ms: number }> {
  const result = await timed(promise);
  assert.ok(result.ms < MUST_HAPPEN_MS, `${result.ms} ms`);
  return result;
}
