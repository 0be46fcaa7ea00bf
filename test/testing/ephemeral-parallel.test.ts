/** Ephemeral instances of many test workers, some of which are killed. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, isLocked, startEphemeral } from '../../src/index.js';
import type { Had } from '../fixtures/ephemeral-caller.js';
import { ownTemporaryFolder, redisPreset, userFolder } from '../helpers/ephemeral.js';
import { isRunning } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { seededRandom } from '../helpers/random.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';
import { processesNaming } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts } from '../helpers/witness.js';

test('8 workers with 10 instances each at the same time have 80 ports and 80 folders, and leave nothing', async (t) => {
  const env = { ...process.env, TMPDIR: temporaryFolder(t) };
  const folder = join(env.TMPDIR, `flock-process-${process.getuid?.()}`);
  const workers = Array.from({ length: 8 }, () => startFixture(t, 'ephemeral-caller', ['10'], { env }));
  const had = await Promise.all(
    workers.map((worker) => eventually('the worker has reported its instances', () => first(worker), LONG)),
  );
  const instances = had.flatMap((each) => each.instances);
  assert.equal(new Set(instances.map(({ port }) => port)).size, 80);
  assert.equal(new Set(instances.map(({ stateDir }) => stateDir)).size, 80);
  assert.equal(new Set(instances.map(({ pid }) => pid)).size, 80);
  assert.deepEqual(await Promise.all(instances.map(({ port }) => accepts(port))), Array(80).fill(true));
  // Half of the workers are asked to stop, the others are killed.
  for (const worker of workers.slice(0, 4)) worker.send('stop');
  for (const worker of workers.slice(4)) worker.kill();
  for (const worker of workers) await worker.ended({ withinMs: 60_000 });
  // A process of several threads can be a zombie while its last thread still has the lock.
  const isThere = ({ pid, stateDir }: Had['instances'][number]) =>
    isRunning(pid) || isLocked(join(stateDir, 'redis.lock'));
  await eventually('no process is left', () => !instances.some(isThere) && processesNaming(folder).length === 0, LONG);
  const left = had.slice(4).flatMap((each) => each.instances.map(({ stateDir }) => stateDir));
  assert.deepEqual(ephemeralIn(folder).toSorted(), left.toSorted());
  // The next call removes the folders of the killed workers.
  const next = startFixture(t, 'ephemeral-caller', ['1'], { env });
  const [survivor] = (await next.message<Had>()).instances;
  assert.deepEqual(ephemeralIn(folder), [survivor?.stateDir]);
  next.send('stop');
  await next.ended();
  assert.deepEqual(ephemeralIn(folder), []);
});

test('a caller killed at a random instant leaves no process, and after the next call no folder', async (t) => {
  const random = seededRandom(t);
  const env = { ...process.env, TMPDIR: temporaryFolder(t) };
  const folder = join(env.TMPDIR, `flock-process-${process.getuid?.()}`);
  for (let round = 1; round <= rounds(40); round += 1) {
    const caller = startFixture(t, 'ephemeral-caller', ['2'], { env });
    if (round % 4 === 0) await caller.message();
    else
      await eventually('the first folder exists', () => existsSync(folder) && ephemeralIn(folder).length > 0, {
        everyMs: 1,
      });
    await delay(random.between(0, 120));
    caller.kill();
    await caller.ended();
    await eventually('no process is left', () => processesNaming(folder).length === 0, { everyMs: 2 });
  }
  // A folder without a lock in it may be new, so a call removes it only when it is a minute old.
  for (const path of ephemeralIn(folder)) {
    if (!readdirSync(path).includes('in-use.lock')) utimesSync(path, new Date(0), new Date(0));
  }
  const next = startFixture(t, 'ephemeral-caller', ['1'], { env });
  const [survivor] = (await next.message<Had>()).instances;
  assert.deepEqual(ephemeralIn(folder), [survivor?.stateDir]);
  next.send('stop');
  await next.ended();
});

test('a sweep leaves folders that are in use, new, or not made by startEphemeral', async (t) => {
  ownTemporaryFolder(t);
  await using living = await startEphemeral(redisPreset);
  const make = (name: string, file?: string) => {
    const path = join(userFolder(), name);
    mkdirSync(path, { recursive: true });
    if (file !== undefined) writeFileSync(join(path, file), '');
    utimesSync(path, new Date(0), new Date(0));
    return path;
  };
  const dead = make('ephemeral-dead', 'in-use.lock');
  const old = make('ephemeral-old');
  const fresh = make('ephemeral-fresh');
  utimesSync(fresh, new Date(), new Date());
  const foreign = make('somebody', 'in-use.lock');
  const running = make('ephemeral-running', 'in-use.lock');
  using _lock = acquireLock(join(running, 'redis.lock'));
  const treasure = temporaryFolder(t);
  writeFileSync(join(treasure, 'in-use.lock'), '');
  const link = join(userFolder(), 'ephemeral-link');
  symlinkSync(treasure, link);
  const file = join(userFolder(), 'ephemeral-file');
  writeFileSync(file, '');

  await (await startEphemeral(redisPreset)).stop();
  assert.deepEqual([dead, old].filter(existsSync), []);
  const staying = [living.stateDir, fresh, foreign, running, file, join(treasure, 'in-use.lock')];
  assert.deepEqual(staying.filter(existsSync), staying);
  assert.equal(await accepts(living.port), true);
});

const LONG = { withinMs: 90_000 };

function first({
  messages,
  isAlive,
  stderr,
}: {
  messages: unknown[];
  isAlive: boolean;
  stderr: string;
}): Had | undefined {
  if (!isAlive) throw new Error(`a worker ended: ${stderr}`);
  return messages[0] as Had | undefined;
}

function ephemeralIn(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => name.startsWith('ephemeral-'));
  return names.map((name) => join(folder, name));
}
