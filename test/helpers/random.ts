/** Repeatable randomness: the seed is printed with the test, and taken from TEST_SEED when that is set. */
import { randomInt } from 'node:crypto';
import type { TestContext } from 'node:test';

export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** The generator mulberry32: 0 ≤ x < 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  /** One of the keys at random, in proportion to their weights. */
  weighted<Key extends string>(weights: Readonly<Record<Key, number>>): Key {
    const entries = Object.entries(weights) as [Key, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      left -= weight;
      if (left < 0) return key;
    }
    throw new Error('no weights');
  }

  /** A new seed, for another generator. */
  fork(): number {
    return Math.floor(this.next() * 2 ** 32);
  }
}

export function seededRandom(test: Pick<TestContext, 'diagnostic'>): Random {
  const random = new Random(Number(process.env.TEST_SEED ?? randomInt(2 ** 32)));
  test.diagnostic(`TEST_SEED=${random.seed}`);
  return random;
}
