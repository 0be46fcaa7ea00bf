/**
 * What the library must do in each runtime. The evidence is from flock(1), the process table and a separate Node, never only from the
 * runtime itself.
 */
// @ts-check
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import {
  eventually,
  holdByFlock,
  isAlive,
  isGone,
  isHeld,
  isWaitedFor,
  killServer,
  lockOf,
  ping,
  redis,
} from './runtime-evidence.mjs';

/** @typedef {import('./runtime-agent.mjs').RuntimeAgent} RuntimeAgent */

/**
 * @typedef {object} Context
 * @property {(changes?: NodeJS.ProcessEnv) => Promise<RuntimeAgent>} agent another process of the runtime, which has loaded the
 *   library; `changes` of its environment
 * @property {() => Promise<RuntimeAgent>} nodeAgent the same, of Node, which has the addon
 * @property {string} folder for this case alone
 * @property {string} temporal the Temporal CLI
 */

/** @typedef {Readonly<Record<string, (context: Context) => Promise<void>>>} Cases */

/** @type {Cases} */
export const LOCK_CASES = {
  'a lock is taken, seen, refused to others and released': async ({ agent, folder }) => {
    const path = join(folder, 'job.lock');
    const [one, other] = [await agent(), await agent()];
    assert.equal(await one.call('isLocked', path), false);
    assert.equal(existsSync(path), false, 'a question makes a file');
    await one.call('acquire', path);
    assert.deepEqual([await one.call('isLocked', path), await other.call('isLocked', path)], [true, true]);
    for (const rival of [one, other]) await assert.rejects(rival.call('acquire', path), /^Error: ERR_LOCK_HELD/);
    await one.call('release', path);
    assert.equal(await one.call('isLocked', path), false);
    await other.call('acquire', path);
    await Promise.all([one.end(), other.end()]);
    assert.equal(await isHeld(path), false, 'after the end of the holder');
  },

  'its lock keeps flock(1) out, until kill -9': async ({ agent, folder }) => {
    const path = join(folder, 'job.lock');
    const holder = await agent();
    await holder.call('acquire', path);
    assert.equal(await isHeld(path), true);
    await holder.kill();
    assert.equal(await isHeld(path), false);
  },

  'a lock of flock(1) is seen, refuses it, and is waited for': async ({ agent, folder }) => {
    const path = join(folder, 'job.lock');
    const it = await agent();
    const release = await holdByFlock(path);
    assert.equal(await it.call('isLocked', path), true);
    await assert.rejects(it.call('acquire', path), /^Error: ERR_LOCK_HELD/);
    it.tell('wait', path);
    await eventually('a waiter', () => isWaitedFor(path));
    await release();
    await it.answer();
    assert.equal(await isHeld(path), true);
    await it.end();
  },

  'a time limit ends although a fake clock stands still that came after the library': async ({ agent, folder }) => {
    const path = join(folder, 'job.lock');
    const [one, other] = [await agent(), await agent()];
    await one.call('acquire', path);
    await other.call('stopClock');
    await assert.rejects(other.call('wait', path, { timeoutMs: 300 }), /^Error: ERR_LOCK_HELD/);
    await Promise.all([one.end(), other.end()]);
  },
};

/** @type {Cases} */
export const PROCESS_CASES = {
  'without perl and flock(1) the error does not send anybody to build the addon': async ({ agent, folder }) => {
    const it = await agent({ PATH: folder });
    const expected = /^Error: ERR_FLOCK_BINDING: .*(bun|deno) cannot use the addon fs-ext.*run the program with Node$/;
    await assert.rejects(it.call('acquire', join(folder, 'job.lock')), expected);
    await it.end();
  },

  'who holds a lock is named': async ({ agent, nodeAgent, folder }) => {
    const path = join(folder, 'job.lock');
    const [one, other] = [await agent(), await nodeAgent()];
    await one.call('acquire', path);
    assert.deepEqual(await other.call('lockHolders', path), [one.pid]);
    await one.call('release', path);
    await other.call('acquire', path);
    assert.deepEqual(await one.call('lockHolders', path), [other.pid]);
    await Promise.all([one.end(), other.end()]);
  },

  'detached: kill -9 of the starter, of the server, and a stop': async ({ agent, nodeAgent, folder }) => {
    const spec = await redis(folder, 'detached');
    const starter = await agent();
    const { pid } = await starter.call('start', spec);
    await starter.kill();
    assert.deepEqual([await ping(spec), await isHeld(lockOf(spec))], ['+PONG', true]);
    const [it, node] = [await agent(), await nodeAgent()];
    const again = await it.call('start', spec);
    assert.deepEqual([again.pid, again.reused], [pid, true]);
    assert.equal((await node.call('status', spec)).state, 'running');
    await killServer(pid);
    assert.equal((await it.call('status', spec)).state, 'stopped');
    const next = await it.call('start', spec);
    assert.deepEqual([next.reused, next.pid === pid], [false, false]);
    assert.equal((await node.call('start', spec)).pid, next.pid);
    await it.end();
    assert.equal(await ping(spec), '+PONG', 'after the end of the starter');
    const last = await agent();
    assert.equal((await last.call('stop', spec)).outcome, 'stopped');
    assert.deepEqual([isAlive(next.pid), await isHeld(lockOf(spec))], [false, false]);
  },

  'tied: kill -9 of the owner ends the server': async ({ agent, folder }) => {
    const spec = await redis(folder, 'tied');
    const owner = await agent();
    const { pid } = await owner.call('start', spec);
    assert.equal(await ping(spec), '+PONG');
    await owner.kill();
    await isGone(spec, pid);
  },

  'tied: kill -9 of the server, and the end of its owner': async ({ agent, folder }) => {
    const spec = await redis(folder, 'tied');
    const owner = await agent();
    const { pid } = await owner.call('start', spec);
    await killServer(pid);
    const next = await owner.call('start', spec);
    assert.deepEqual([next.reused, await ping(spec)], [false, '+PONG']);
    await owner.end();
    await isGone(spec, next.pid);
  },

  'shared: the server lives as long as its last user, kill -9 of each': async ({ agent, nodeAgent, folder }) => {
    const spec = await redis(folder, 'shared');
    const users = [await agent(), await nodeAgent(), await agent(), await agent()];
    const pids = [];
    for (const user of users) pids.push((await user.call('start', spec)).pid);
    const [pid, ...others] = pids;
    assert.deepEqual(others, [pid, pid, pid]);
    const [first, second, third, last] = /** @type {[RuntimeAgent, RuntimeAgent, RuntimeAgent, RuntimeAgent]} */ (
      users
    );
    await first.kill();
    await second.kill();
    await third.call('leave', spec);
    assert.equal(await ping(spec), '+PONG');
    await last.kill();
    await isGone(spec, pid);
    await third.end();
  },

  'shared: kill -9 of the server': async ({ agent, folder }) => {
    const spec = await redis(folder, 'shared');
    const [one, other] = [await agent(), await agent()];
    const { pid } = await one.call('start', spec);
    assert.equal((await other.call('start', spec)).pid, pid);
    await killServer(pid);
    const next = await one.call('start', spec);
    assert.deepEqual([next.reused, await ping(spec)], [false, '+PONG']);
    await one.kill();
    assert.equal((await other.call('status', spec)).state, 'running');
    await other.end();
    await isGone(spec, next.pid);
  },

  'ephemeral: kill -9 of the owner ends the server': async ({ agent }) => {
    const owner = await agent();
    const instance = await owner.call('startEphemeral');
    assert.equal(await ping(instance), '+PONG');
    await owner.kill();
    await eventually('its end', () => !isAlive(instance.pid));
  },

  'ephemeral: kill -9 of the server, and nothing is left of it': async ({ agent }) => {
    const owner = await agent();
    const { pid, stateDir } = await owner.call('startEphemeral');
    assert.equal(existsSync(stateDir), true);
    await killServer(pid);
    await owner.call('stopEphemeral', pid);
    assert.equal(existsSync(stateDir), false);
    await owner.end();
  },

  'a real Temporal is started, answers, and is gone': async ({ agent, temporal }) => {
    const owner = await agent();
    const { pid, stateDir, address } = await owner.call('startTemporal', { command: temporal });
    const connection = await Connection.connect({ address, connectTimeout: '15s' });
    try {
      const { namespaceInfo } = await connection.workflowService.describeNamespace({ namespace: 'default' });
      assert.equal(namespaceInfo?.name, 'default');
    } finally {
      await connection.close();
    }
    await owner.call('stopEphemeral', pid);
    assert.deepEqual([isAlive(pid), existsSync(stateDir)], [false, false]);
    await owner.end();
  },

  'a supervised server comes back after kill -9, until it is stopped': async ({ agent, nodeAgent, folder }) => {
    const spec = await redis(folder, 'detached');
    const [supervisor, node] = [await agent(), await nodeAgent()];
    supervisor.tell('supervise', spec);
    // Two answers come, the outcome of the call and the event of the first start; one of them has the PID.
    let pid = (await supervisor.answer()) ?? (await supervisor.answer());
    for (const crash of [1, 2]) {
      await killServer(pid);
      const next = await supervisor.answer();
      assert.notEqual(next, pid);
      assert.equal(await ping(spec), '+PONG');
      const { state, restarts } = await node.call('status', spec);
      assert.deepEqual([state, restarts], ['running', crash]);
      pid = next;
    }
    assert.equal((await node.call('stop', spec)).outcome, 'stopped');
    assert.equal(isAlive(pid), false);
    await supervisor.kill();
  },
};

/** Starts one server from `agents` of all runtimes at the same time: there must be exactly one server, and every agent gets its PID. */
export async function race(/** @type {readonly RuntimeAgent[]} */ agents, /** @type {string} */ folder) {
  const spec = await redis(folder, 'detached');
  for (const agent of agents) agent.tell('start', spec);
  const answers = await Promise.all(agents.map((agent) => agent.answer()));
  const [{ pid }] = answers;
  assert.deepEqual(
    answers.map((answer) => answer.pid),
    answers.map(() => pid),
  );
  assert.equal(answers.filter(({ reused }) => !reused).length, 1, 'starts that spawned');
  assert.equal(await ping(spec), '+PONG');
  const lines = readFileSync(join(spec.stateDir, 'redis.journal'), 'utf8').split('\n');
  assert.equal(lines.filter((line) => line.includes('"spawn"')).length, 1, 'spawns in the journal');
  await agents[0]?.call('stop', spec);
  assert.equal(isAlive(pid), false);
}
