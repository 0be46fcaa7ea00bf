/** One attack on a promise of the library: what a row of the campaign's table is made from, and what it is given to work with. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Random } from '../helpers/random.js';

export interface Row {
  /** A sentence that can be false. */
  readonly name: string;
  /** Which of the laws it attacks. */
  readonly laws: readonly number[];
  /** How many attempts the full campaign makes. */
  readonly attempts: number;
  /** How many there are at least, however short the form. Default 1. */
  readonly least?: number;
  /** How long the full row may take; a row that takes longer is a violation. Default 30 minutes. */
  readonly limitMs?: number;
  /** It lasts long and does little: in a campaign it runs beside the other rows, which come one after another. */
  readonly beside?: boolean;
  attack(attack: Attack): Promise<void>;
}

export interface Outcome {
  readonly row: Row;
  readonly attempts: number;
  readonly violations: readonly string[];
  /** What the row found worth telling: `median 12 ms`. */
  readonly remarks: readonly string[];
  readonly elapsedMs: number;
}

type Teardown = () => unknown;

/** What one attempt is given: its teardown is done before the next one begins. */
export interface Round {
  readonly index: number;
  after(teardown: Teardown): void;
  diagnostic(text: string): void;
}

/** After so many violations nothing is learned from more of them. */
const ENOUGH_VIOLATIONS = 5;

const DEFAULT_LIMIT_MS = 1_800_000;

/** For what a row waits for as long as it lasts: its own limit ends it. */
export const AS_LONG_AS_THE_ROW_MS = DEFAULT_LIMIT_MS;

/** Even a single attempt may meet a busy machine. */
const LEAST_LIMIT_MS = 180_000;

export interface AttackOptions {
  seed: number;
  /** Of the attempts of the full campaign. */
  share: number;
  /** A row gives up after so many violations. Default 5. */
  enough?: number;
}

/** Has the two methods of a test's context that the tests' helpers use, so that they serve here too. */
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

  /** How long this form lasts where the full one lasts `fullMs`. */
  duration(fullMs: number, leastMs = 500): number {
    return Math.max(leastMs, fullMs * this.#share);
  }

  /** Calls `round` once for each attempt. What it throws is a violation. */
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

  /** Counts what came; the counts become one remark. */
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

  /** In the order of their registration, as a test's: the tests' helpers count on it. */
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

/** Makes one row's attempts. Never rejects: whatever goes wrong is a violation of that row. */
export async function makeAttack(row: Row, options: AttackOptions): Promise<Outcome> {
  const attack = new Attack(row, options);
  const start = performance.now();
  const limitMs = Math.max(LEAST_LIMIT_MS, (row.limitMs ?? DEFAULT_LIMIT_MS) * options.share);
  const clock = new AbortController();
  await Promise.race([
    row.attack(attack).catch((error) => attack.violation('the attack itself', error)),
    delay(limitMs, undefined, { signal: clock.signal }).then(
      () => attack.violation(`not over after ${limitMs / 1000} s`),
      () => {}, // AbortError: it is over
    ),
  ]);
  clock.abort();
  await attack.end();
  if (attack.attempted === 0) attack.violation('no attempt was made');
  const { attempted, violations, remarks } = attack;
  return { row, attempts: attempted, violations, remarks, elapsedMs: performance.now() - start };
}
