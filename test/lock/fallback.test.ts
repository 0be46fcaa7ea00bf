/** The laws of the lock where fs-ext was installed but not built, for each program that can replace it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithOnly, pathWithScript, whereIs } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { startFixture, startProgram } from '../helpers/programs.js';
import { race } from '../helpers/race.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };
/**
 * Through flock(1) most acquires meet another process that asks: 150 took a minute on a machine that did nothing else.
 */
const ACQUIRES_WITHIN_MS = 560_000;

const nodeArgs = ['--require', plainFixture('without-fs-ext.cjs')];

/** The programs on PATH. */
const helpers: Record<string, (t: TestContext) => string> = {
  'flock(1)': (t) => pathWithOnly(t, 'flock'),
  'a flock(1) with no more options than busybox has': (t) => pathWithScript(t, 'busybox-flock.sh', 'flock'),
  perl: (t) => pathWithOnly(t, 'perl'),
};
if (spawnSync('busybox', ['flock', '--help']).status === 0) {
  helpers['flock(1) of busybox'] = (t) => {
    const folder = temporaryFolder(t);
    symlinkSync(whereIs('busybox'), join(folder, 'flock'));
    return folder;
  };
}

for (const [name, folderOf] of Object.entries(helpers)) {
  const optionsOf = (t: TestContext) => ({ nodeArgs, env: { PATH: folderOf(t), REAL_FLOCK: whereIs('flock') } });

  test(`through ${name}: there is one holder, whichever of the ways to lock each process uses`, async (t) => {
    const path = join(temporaryFolder(t), 'sub/x.lock');
    const options = optionsOf(t);
    const [one, two] = [startLockAgent(t, options), startLockAgent(t, options)];
    await one.acquire(path);
    for (const other of [one, two]) await assert.rejects(other.acquire(path), heldError);
    assert.throws(() => acquireLock(path), heldError);
    await assert.rejects(two.ask({ do: 'wait', path, timeoutMs: 20 }), heldError);
    await one.release();
    await two.ask({ do: 'wait', path });
    await assert.rejects(one.acquire(path), heldError);
    await two.kill();
    const lock = acquireLock(path);
    await assert.rejects(one.acquire(path), heldError);
    lock.release();
    await one.acquire(path);
  });

  test(`through ${name}: isLocked is right, and a shared lock does not count as held`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const agent = startLockAgent(t, optionsOf(t));
    assert.equal(await agent.isLocked(path), false);
    const keeper = startProgram(t, 'flock', ['--no-fork', '-s', path, 'sh', '-c', 'echo held; exec sleep 60']);
    await keeper.printed(/held/);
    assert.equal(await agent.isLocked(path), false);
    await assert.rejects(agent.acquire(path), { ...heldError, message: /shared lock/ });
    keeper.kill();
    await keeper.ended();
    await agent.acquire(path);
    assert.equal(await agent.isLocked(path), true);
    assert.equal(isLocked(path), true);
    await agent.release();
    assert.equal(await agent.isLocked(path), false);
  });

  test(`through ${name}: a lock that is handed over outlives the helper and the starter`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const starter = startLockAgent(t, optionsOf(t));
    await starter.acquire(path);
    const heir = await starter.share(t);
    await starter.handOver();
    await starter.kill();
    assert.equal(isLocked(path), true);
    process.kill(heir, 'SIGKILL');
    await eventually('the lock is free', () => !isLocked(path));
  });

  test(`through ${name}: release() frees the lock although a child shares it`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const agent = startLockAgent(t, optionsOf(t));
    await agent.acquire(path);
    const heir = await agent.share(t);
    assert.equal(isLocked(path), true);
    await agent.release();
    acquireLock(path).release();
    assert.equal(process.kill(heir, 0), true);
  });

  test(`through ${name}: of four processes that acquire at the same moment exactly one wins`, async (t) => {
    const options = { ...optionsOf(t) };
    const contenders = Array.from({ length: 4 }, () => startFixture(t, 'contender', [], options));
    await race(contenders, { folder: temporaryFolder(t), rounds: rounds(100, { least: 20 }) });
  });

  test(`through ${name}: no acquire fails while four other processes ask all the time`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    writeFileSync(path, '');
    const options = optionsOf(t);
    const probers = Array.from({ length: 4 }, () => startFixture(t, 'prober', [path], options));
    await Promise.all(probers.map((prober) => prober.printed(/begun/)));
    const count = rounds(150, { least: 15 });
    const acquirer = startFixture(t, 'repeated-locker', [path, String(count)], options);
    const { stdout, stderr } = await acquirer.ended({ withinMs: ACQUIRES_WITHIN_MS });
    assert.equal(stdout, `${count} times\n`, stderr);
  });
}

test('through flock(1) an acquire that meets a shared lock of isLocked waits for it in the kernel', async (t) => {
  const folder = temporaryFolder(t);
  const REFUSALS = join(folder, 'refusals');
  writeFileSync(REFUSALS, '200\n');
  const env = { PATH: pathWithScript(t, 'unlucky-flock.sh', 'flock'), REAL_FLOCK: whereIs('flock'), REFUSALS };
  const agent = startLockAgent(t, { nodeArgs, env });
  await agent.acquire(join(folder, 'x.lock'));
  assert.equal(readFileSync(REFUSALS, 'utf8'), '199\n', 'attempts that were refused');
  assert.equal(isLocked(join(folder, 'x.lock')), true);
});
