/**
 * Users of shared servers join, leave, are suspended and are killed for two minutes. One server is shared by
 * startShared and, at the same time, another one by a manager. Each user checks its server for as long as it is a user.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, type ProcessSpec, startShared } from '../../../src/index.js';
import type { Visit } from '../../fixtures/random-user.js';
import { processesIn } from '../../helpers/outside-view.js';
import { type Program, startFixture } from '../../helpers/programs.js';
import { Random } from '../../helpers/random.js';
import { freePort } from '../../helpers/resources.js';
import { nothingIsLeft, ownKey, redisPreset, sharedFolder } from '../../helpers/shared.js';
import { eventually } from '../../helpers/waiting.js';
import { accepts } from '../../helpers/witness.js';
import type { Attack, Row } from '../attack.js';

const DURATION_MS = 120_000;
const LASTING_USERS = 3;
const KILL_EVERY_MS = 500;

/** The watcher needs milliseconds to end a server; a busy machine takes longer. */
const GONE_WITHIN_MS = 10_000;

/** A visit lasts less than 0.1 s, unless its user is suspended. */
const LAST_VISIT_MS = 30_000;

export const crowdRow: Row = {
  name: 'a shared process never ends before its last user and never outlives it, while users join, leave and are killed',
  laws: [7],
  attempts: DURATION_MS / KILL_EVERY_MS,
  async attack(attack) {
    const durationMs = attack.duration(DURATION_MS, 2_000);
    await Promise.all([attackShared(attack, durationMs), attackManaged(attack, durationMs)]);
  },
};

async function attackShared(attack: Attack, durationMs: number): Promise<void> {
  const key = ownKey();
  const crowd = new Crowd(attack, key);
  await crowd.comeAndGo(durationMs);
  const goneMs = await nothingIsLeft(key);
  // When the last user was killed, the next one removes the folder.
  await (await startShared(redisPreset, { key })).leave();
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false, 'the folder');
  crowd.tell('startShared', goneMs);
}

async function attackManaged(attack: Attack, durationMs: number): Promise<void> {
  const port = await freePort();
  const stateDir = join(attack.folder, 'managed');
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir];
  const spec: ProcessSpec = { name: 'redis', command: 'redis-server', args, port, stateDir, lifetime: 'shared' };
  const crowd = new Crowd(attack, JSON.stringify(spec));
  await crowd.comeAndGo(durationMs);
  const begin = performance.now();
  // The files of a process with several threads are listed under its main thread, and its last thread closes them.
  const isGone = async () =>
    processesIn(stateDir).length === 0 && !isLocked(join(stateDir, 'redis.lock')) && !(await accepts(port));
  await eventually('no process is left, and the lock and the port are free', isGone, { everyMs: 10 });
  crowd.tell('managers', performance.now() - begin);
}

class Crowd {
  readonly #attack: Attack;
  readonly #place: string;
  readonly #random: Random;
  readonly #visits: Visit[] = [];
  readonly #lasting: Program[];
  readonly #doomed: Program[] = [];
  #suspensions = 0;

  constructor(attack: Attack, place: string) {
    this.#attack = attack;
    this.#place = place;
    this.#random = new Random(attack.random.fork());
    this.#lasting = Array.from({ length: LASTING_USERS }, () => this.#start());
  }

  async comeAndGo(durationMs: number): Promise<void> {
    // The very first user starts the server. Later users may be killed before they can report anything.
    const hasBegun = () => this.#visits.some(({ reused, defects }) => !reused || defects.length > 0);
    await eventually('the first visit is reported', hasBegun, { withinMs: LAST_VISIT_MS });
    const end = performance.now() + durationMs;
    do {
      this.#attack.count();
      this.#doomed.push(this.#start());
      if (this.#random.next() < 0.3) await this.#suspend(this.#lasting[this.#doomed.length % LASTING_USERS] as Program);
      await delay(this.#random.between(0.5, 1.5) * KILL_EVERY_MS);
      const [victim] = this.#doomed.slice(-2);
      if (this.#random.next() < 0.3) await this.#suspend(victim as Program);
      victim?.kill();
      this.#requireNoDefect();
    } while (performance.now() < end);
    this.#doomed.at(-1)?.kill();
    const areKilled = this.#random.next() < 0.5;
    for (const user of this.#lasting) areKilled ? user.kill() : user.send('end');
    for (const user of this.#lasting) {
      const { exitCode, stderr } = await user.ended({ withinMs: LAST_VISIT_MS });
      assert.equal(exitCode, areKilled ? null : 0, stderr);
    }
    for (const user of this.#doomed) await user.ended();
    this.#requireNoDefect();
  }

  tell(who: string, goneMs: number): void {
    const starts = this.#visits.filter(({ reused }) => !reused).length;
    const looks = this.#visits.reduce((sum, visit) => sum + visit.looks, 0);
    const [killed, suspended] = [this.#doomed.length, this.#suspensions];
    this.#attack.remark(
      `${who}: ${this.#visits.length} visits with ${looks} looks, ${starts} started it; ${killed} users killed, ${suspended} suspended; the last process gone after ${Math.round(goneMs)} ms`,
    );
    assert.ok(goneMs < GONE_WITHIN_MS, `the last process gone after ${goneMs} ms`);
  }

  #start(): Program {
    const program = startFixture(this.#attack, 'random-user', [this.#place, String(this.#random.fork())]);
    program.child.on('message', (visit: Visit) => this.#visits.push(visit));
    return program;
  }

  async #suspend(user: Program): Promise<void> {
    this.#suspensions += 1;
    user.kill('SIGSTOP');
    await delay(this.#random.between(0, 300));
    user.kill('SIGCONT');
  }

  #requireNoDefect(): void {
    assert.deepEqual(
      this.#visits.flatMap(({ defects }) => defects),
      [],
    );
  }
}
