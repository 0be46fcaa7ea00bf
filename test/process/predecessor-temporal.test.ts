/** The predecessor that the Temporal preset looks for in ~/.stigmer: the tool as it was before it had a kernel lock. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, temporalDevServer } from '../../src/index.js';
import { hasBegunToEnd } from '../helpers/evidence.js';
import { leaveStale, olderWorld, predecessorIn, raceOnce } from '../helpers/older-owner.js';
import { startProgram } from '../helpers/programs.js';
import { seededRandom } from '../helpers/random.js';
import { killAfter, rounds, temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const FILES = ['temporal.lock', 'temporal.pid'] as const;

/** The files that are there before a round and name no living process, as an older run or our stop() leaves them. */
const STALE = [[], FILES, ['temporal.lock'], ['temporal.pid']];

interface Place {
  readonly home: string;
  readonly folder: string;
  /** Writes the PID into that file in the usual format. */
  write(file: (typeof FILES)[number], pid: number): void;
  ask(): unknown;
}

function placeOf(t: TestContext): Place {
  const home = temporaryFolder(t);
  const folder = join(home, '.stigmer');
  mkdirSync(folder);
  const ask = predecessorIn(home);
  return { home, folder, write: (file, pid) => writeFileSync(join(folder, file), `${pid}\n`), ask: () => ask() };
}

/** The PID of a process that has ended. */
function deadPid(): number {
  return spawnSync('true').pid;
}

/** Starts a process that has this command name. */
function processCalled(t: TestContext, name: string): number {
  return startProgram(t, 'sleep', ['300'], { argv0: name }).pid;
}

for (const name of ['temporal', 'node', 'stigmer', '/opt/stigmer/bin/stigmer']) {
  test(`a living ${name} that one of the files names is the predecessor`, async (t) => {
    const pid = processCalled(t, name);
    for (const file of FILES) {
      const place = placeOf(t);
      assert.equal(place.ask(), undefined);
      place.write(file, pid);
      assert.equal(place.ask(), pid);
    }
  });
}

test('a dead process, this process, another command, and a process that got the PID later are no predecessor', async (t) => {
  const place = placeOf(t);
  const strangers = {
    dead: deadPid(),
    ours: process.pid,
    sleep: processCalled(t, 'sleep'),
    first: 1,
    none: 0,
  };
  for (const pid of Object.values(strangers)) {
    for (const file of FILES) place.write(file, pid);
    assert.equal(place.ask(), undefined);
  }
  const pid = processCalled(t, 'temporal');
  for (const file of FILES) {
    place.write(file, pid);
    utimesSync(join(place.folder, file), new Date(), new Date(Date.now() - 60_000));
  }
  assert.equal(place.ask(), undefined);
  for (const text of ['', 'temporal', '10 MB of noise '.repeat(700_000), `${pid} and more`]) {
    for (const file of FILES) writeFileSync(join(place.folder, file), text);
    assert.equal(place.ask(), undefined);
  }
});

test('a holder of a lock of this library is no predecessor: our process that the files name, a starter, or one under a copied folder', async (t) => {
  const place = placeOf(t);
  const spec = sleepSpec(t, { command: process.execPath, args: ['-e', 'setInterval(() => 0, 1 << 30)'] });
  const ours = new ProcessManager({ ...spec, name: 'temporal', stateDir: place.folder });
  const { pid } = await ours.start();
  assert.match(readFileSync(join(place.folder, 'temporal.lock'), 'utf8'), new RegExp(`^${pid}\n`));
  assert.equal(place.ask(), undefined);
  const copy = placeOf(t);
  for (const file of FILES) copyFileSync(join(place.folder, file), join(copy.folder, file));
  assert.equal(copy.ask(), undefined);
  await ours.stop();
});

test('a predecessor is looked for in ~/.stigmer alone', (t) => {
  const home = temporaryFolder(t);
  const before = process.env.HOME;
  t.after(() => {
    process.env.HOME = before;
  });
  process.env.HOME = home;
  assert.equal(typeof temporalDevServer().predecessor, 'function');
  assert.equal(typeof temporalDevServer({ stateDir: `${home}/./.stigmer` }).predecessor, 'function');
  assert.equal(temporalDevServer({ stateDir: join(home, 'elsewhere') }).predecessor, undefined);
});

test('a running stack survives the start() of an upgrade, whether its tool still lives or only its server', async (t) => {
  const world = await olderWorld(t);
  const { manager, server, folder } = world;
  const owner = await world.owner();
  owner.send('go');
  const { server: pid } = await owner.message<{ server: number }>();
  killAfter(t, pid);
  await eventually('the server of the predecessor has started', () => server.pids().includes(pid));
  await assert.rejects(manager.start(), { code: 'ERR_PREDECESSOR', pid: owner.pid });
  owner.kill();
  await owner.exited;
  await assert.rejects(manager.start(), { code: 'ERR_PREDECESSOR', pid });
  const { state, pid: reported } = await manager.status();
  assert.deepEqual([state, reported], ['unknown', pid]);
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.deepEqual(server.alive(), [pid]);
  assert.equal(readFileSync(join(folder, 'temporal.pid'), 'utf8'), `${pid}\n`);

  process.kill(pid);
  await eventually('the server has ended', () => hasBegunToEnd(pid) && server.alive().length === 0);
  const { reused } = await manager.start();
  assert.equal(reused, false);
  // The older tool respects our process, too.
  const late = await world.owner();
  late.send('go');
  assert.deepEqual(await late.message(), { refusedBy: server.alive()[0] });
  server.assertNeverTwo();
});

test('an older start and ours, 0 to 200 ms apart and in both orders, never make two servers, and delete no file that names a living one', async (t) => {
  const random = seededRandom(t);
  const world = await olderWorld(t);
  const winners = { older: 0, ours: 0, suspended: 0 };
  const count = rounds(100);
  for (let round = 0; round < count; round += 1) {
    leaveStale(world, deadPid(), ...(STALE[round % STALE.length] ?? []));
    // The third power makes most of the delays a few milliseconds long.
    winners[await raceOnce(world, round % 2 === 0, 200 * random.next() ** 3)] += 1;
  }
  t.diagnostic(`the older one won ${winners.older} times, ours ${winners.ours} times`);
  assert.ok(winners.suspended < count / 4, `${winners.suspended} rounds that the older one slept through`);
  assert.equal(winners.older + winners.ours + winners.suspended, count);
  assert.ok(existsSync(world.folder));
});
