/** Several processes that call methods at random, while some of them are killed and some suspended for a while. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import type { Outcome } from '../fixtures/random-caller.js';
import { type Program, startFixture } from './programs.js';
import type { Random } from './random.js';
import { eventually } from './waiting.js';
import type { Witness } from './witness.js';

type Test = Parameters<typeof startFixture>[0];

/** The outcomes that a caller must expect of each method while others start, stop and restart, and some are killed. */
const EXPECTED = {
  start: ['spawned', 'reused', 'ERR_STOPPED'],
  restart: ['spawned', 'reused', 'ERR_STOPPED'],
  stop: ['stopped', 'killed', 'not-running'],
  status: ['stopped', 'starting', 'running', 'stopping', 'unhealthy', 'unknown'],
};

class Crowd {
  readonly outcomes: Outcome[] = [];
  killed = 0;
  readonly #startOne: () => Program;
  readonly #random: Random;
  #callers: Program[];

  constructor(test: Test, { spec, random, callers }: { spec: ProcessSpec; random: Random; callers: number }) {
    this.#random = random;
    this.#startOne = () => {
      const args = [JSON.stringify(spec), String(random.fork())];
      const caller = startFixture(test, 'random-caller', args);
      caller.child.on('message', (outcome: Outcome) => this.outcomes.push(outcome));
      return caller;
    };
    this.#callers = Array.from({ length: callers }, this.#startOne);
  }

  /** Kills one caller and starts another one in its place. */
  async replaceOne(): Promise<void> {
    const [victim] = this.#callers.splice(Math.floor(this.#random.between(0, this.#callers.length)), 1);
    victim?.kill();
    this.killed += 1;
    await victim?.ended();
    this.#callers.push(this.#startOne());
  }

  /** Suspends one caller for a while, at whatever instruction it is. */
  async suspendOne(): Promise<void> {
    const victim = this.#callers[Math.floor(this.#random.between(0, this.#callers.length))];
    victim?.kill('SIGSTOP');
    await delay(this.#random.between(0, 150));
    victim?.kill('SIGCONT');
  }

  async end(): Promise<void> {
    for (const caller of this.#callers) caller.send({ end: true });
    for (const caller of this.#callers) {
      const { exitCode, signal, stderr } = await caller.ended({ withinMs: 40_000 });
      assert.deepEqual({ exitCode, signal, stderr }, { exitCode: 0, signal: null, stderr: '' });
    }
  }

  /** A text such as `start spawned: 12 (at most 204 ms)`. */
  summary(): string {
    const times = new Map<string, number[]>();
    for (const { method, word, ms } of this.outcomes) {
      times.set(`${method} ${word}`, [...(times.get(`${method} ${word}`) ?? []), ms]);
    }
    const parts = [...times].map(([what, all]) => `${what}: ${all.length} (at most ${Math.max(...all).toFixed()} ms)`);
    return parts.sort().join(', ');
  }
}

interface CrowdOptions {
  server: Omit<Witness, 'spec'> & { spec: ProcessSpec };
  random: Random;
  callers: number;
  forMs: number;
}

/**
 * Requires that there are never two servers, that every outcome is expected, and that one stop leaves nothing. @returns
 * the number of calls
 */
export async function runCrowd(
  t: Test & { diagnostic(message: string): void },
  { server, random, callers, forMs }: CrowdOptions,
): Promise<number> {
  const crowd = new Crowd(t, { spec: server.spec, random, callers });
  await eventually(`${callers} calls are over`, () => crowd.outcomes.length >= callers, { withinMs: 40_000 });
  const end = performance.now() + forMs;
  while (performance.now() < end) {
    await delay(random.between(0, 300));
    await crowd.suspendOne();
    await delay(random.between(0, 900));
    await crowd.replaceOne();
  }
  await crowd.end();
  t.diagnostic(`${crowd.outcomes.length} calls, ${crowd.killed} callers killed, ${server.pids().length} servers`);
  t.diagnostic(crowd.summary());
  server.assertNeverTwo();
  const odd = crowd.outcomes.filter(({ method, word }) => !EXPECTED[method].includes(word));
  assert.deepEqual(odd, []);
  assert.ok(server.alive().length <= 1);
  await new ProcessManager(server.spec).stop();
  await server.assertNothingThere();
  return crowd.outcomes.length;
}
