import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import type { Outcome } from '../fixtures/random-caller.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { type Random, seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { type Witness, witnessedServer } from '../helpers/witness.js';

const CALLERS = 12;

type Test = Parameters<typeof startFixture>[0];

/** What a caller must expect of each method, while others start, stop and restart, and some of them are killed. */
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

  constructor(test: Test, spec: ProcessSpec, random: Random) {
    this.#random = random;
    this.#startOne = () => {
      const args = [JSON.stringify(spec), String(random.fork())];
      const caller = startFixture(test, 'random-caller', args);
      caller.child.on('message', (outcome: Outcome) => this.outcomes.push(outcome));
      return caller;
    };
    this.#callers = Array.from({ length: CALLERS }, this.#startOne);
  }

  /** One of them is killed, and another one takes its place. */
  async replaceOne(): Promise<void> {
    const [victim] = this.#callers.splice(Math.floor(this.#random.between(0, CALLERS)), 1);
    victim?.kill();
    this.killed += 1;
    await victim?.ended();
    this.#callers.push(this.#startOne());
  }

  /** One of them is suspended for a while, wherever it is. */
  async suspendOne(): Promise<void> {
    const victim = this.#callers[Math.floor(this.#random.between(0, CALLERS))];
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

  /** `start spawned: 12 (at most 204 ms)` and so on. */
  summary(): string {
    const times = new Map<string, number[]>();
    for (const { method, word, ms } of this.outcomes) {
      times.set(`${method} ${word}`, [...(times.get(`${method} ${word}`) ?? []), ms]);
    }
    const parts = [...times].map(([what, all]) => `${what}: ${all.length} (at most ${Math.max(...all).toFixed()} ms)`);
    return parts.sort().join(', ');
  }
}

async function runCrowd(
  t: Test & { diagnostic(message: string): void },
  { server, forMs }: { server: Omit<Witness, 'spec'> & { spec: ProcessSpec }; forMs: number },
): Promise<void> {
  const random = seededRandom(t);
  const crowd = new Crowd(t, server.spec, random);
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
}

test('twelve processes that call at random, some of them killed, never make two servers, and one stop leaves nothing', async (t) => {
  const server = await witnessedServer(t, { listenAfterMs: 15 });
  await runCrowd(t, { server, forMs: rounds(20) * 1_000 });
});

test('nor do they with a server that takes its time to die, and no port whose lock could keep a second one away', async (t) => {
  const server = await witnessedServer(t, { dieAfterMs: 100 });
  const { port: _, ...spec } = server.spec;
  await runCrowd(t, { server: { ...server, spec }, forMs: rounds(20) * 1_000 });
});
