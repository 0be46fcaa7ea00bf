/** One attack on a promise of the library: the type of a row in the campaign's table, and what the row works with. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Random } from '../helpers/random.js';

export interface Row {
  /** A sentence that can be false. */
  readonly name: string;
  /** The laws that it attacks. */
  readonly laws: readonly number[];
  /** How many attempts the full campaign makes. */
  readonly attempts: number;
  /** The fewest attempts, however short the form is. Default 1. */
  readonly least?: number;
  /** How long the full row may take; a row that takes longer is a violation. Default 30 minutes. */
  readonly limitMs?: number;
  /**
   * The row lasts long and uses little processor time: a campaign runs it beside the other rows, which run one after
   * another.
   */
  readonly beside?: boolean;
  attack(attack: Attack): Promise<void>;
}

export interface Outcome {
  readonly row: Row;
  readonly attempts: number;
  readonly violations: readonly string[];
  /** Measurements that the row reports: `median 12 ms`. */
  readonly remarks: readonly string[];
  readonly elapsedMs: number;
}

type Teardown = () => unknown;

/** What one attempt gets. Its teardown is done before the next attempt begins. */
export interface Round {
  readonly index: number;
  after(teardown: Teardown): void;
  diagnostic(text: string): void;
}

/** A row gives up after this many violations, because more of them tell nothing new. */
const ENOUGH_VIOLATIONS = 5;

const DEFAULT_LIMIT_MS = 1_800_000;

/** The limit of a wait that lasts as long as the row: the limit of the row itself ends it. */
export const AS_LONG_AS_THE_ROW_MS = DEFAULT_LIMIT_MS;

/** A short form has at least this long, because a busy machine can delay even a single attempt. */
const LEAST_LIMIT_MS = 180_000;

export interface AttackOptions {
  seed: number;
  /** The share of the full campaign's attempts that are made. */
  share: number;
  /** How many violations make a row give up. Default 5. */
  enough?: number;
}

/** Has the two methods of a test context that the tests' helpers use, so that the helpers work here too. */
export class Attack {
  readonly random: Random;
  /** How many attempts this form makes. */
  readonly attempts: number;
  /** A fresh folder, removed afterwards. */
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'flock-process-attack-')));
  readonly #share: number;
  readonly #enough: number;
  readonly #violations: string[] = [];
  readonly #remarks: string[] = [];
  readonly #teardown: Teardown[] = [];
  readonly #tally = new Map<string, number>();
  #attempted = 0;

  constructor({ attempts, least = 1 }: Pick<Row, 'attempts' | 'least'>, { seed, share, enough }: AttackOptions) {
    this.random = new Random(seed);
    this.attempts = Math.max(least, Math.round(attempts * share));
    this.#share = share;
    this.#enough = enough ?? ENOUGH_VIOLATIONS;
  }

  get attempted(): number {
    return this.#attempted;
  }

  get violations(): readonly string[] {
    return this.#violations;
  }

  get remarks(): readonly string[] {
    const counts = [...this.#tally].sort(([one], [other]) => (one < other ? -1 : 1));
    const tally = counts.map(([word, count]) => `${word}: ${count}`).join(', ');
    return tally === '' ? this.#remarks : [...this.#remarks, tally];
  }

  /** How long a part lasts in this form that lasts `fullMs` in the full form. */
  duration(fullMs: number, leastMs = 500): number {
    return Math.max(leastMs, fullMs * this.#share);
  }

  /** Calls `round` once for each attempt. An error that it throws is a violation. */
  async rounds(round: (round: Round) => Promise<void>, attempts = this.attempts): Promise<void> {
    for (let index = 0; index < attempts && this.#violations.length < this.#enough; index += 1) {
      this.count();
      const teardown: Teardown[] = [];
      try {
        await round({ index, after: (step) => teardown.push(step), diagnostic: (text) => this.diagnostic(text) });
      } catch (error) {
        this.violation(`attempt ${index + 1}`, error);
      }
      await this.#tearDown(teardown);
    }
  }

  count(attempts = 1): void {
    this.#attempted += attempts;
  }

  violation(what: string, cause?: unknown): void {
    this.#violations.push(cause === undefined ? what : `${what}: ${inspect(cause, { depth: 4 })}`);
  }

  /** Counts the words; all counts become one remark. */
  tally(words: readonly string[]): void {
    for (const word of words) this.#tally.set(word, (this.#tally.get(word) ?? 0) + 1);
  }

  remark(text: string): void {
    this.#remarks.push(text);
  }

  after(teardown: Teardown): void {
    this.#teardown.push(teardown);
  }

  diagnostic(text: string): void {
    this.remark(text);
  }

  async end(): Promise<void> {
    await this.#tearDown(this.#teardown);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Runs the steps in the order of their registration, as node:test does, because the tests' helpers rely on it. */
  async #tearDown(steps: readonly Teardown[]): Promise<void> {
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        this.violation('teardown', error);
      }
    }
  }
}

/** Makes the attempts of one row. Never rejects: every error is a violation of the row. */
export async function makeAttack(row: Row, options: AttackOptions): Promise<Outcome> {
  const attack = new Attack(row, options);
  const start = performance.now();
  const limitMs = Math.max(LEAST_LIMIT_MS, (row.limitMs ?? DEFAULT_LIMIT_MS) * options.share);
  const clock = new AbortController();
  await Promise.race([
    row.attack(attack).catch((error) => attack.violation('the attack itself', error)),
    delay(limitMs, undefined, { signal: clock.signal }).then(
      () => attack.violation(`not over after ${limitMs / 1000} s`),
      () => {}, // AbortError: the row ended first
    ),
  ]);
  clock.abort();
  await attack.end();
  if (attack.attempted === 0) attack.violation('no attempt was made');
  const { attempted, violations, remarks } = attack;
  return { row, attempts: attempted, violations, remarks, elapsedMs: performance.now() - start };
}
