/** Numbers that have become somebody else's, or that mean everybody. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockHolders, ProcessManager, type StopResult } from '../../src/index.js';
import type { Report } from '../fixtures/reused-pid.js';
import { isRunningProcess, startTicks } from '../helpers/evidence.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { fixture, plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { startOwner, statusField } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

const needs = { skip: unlessCapable('sys_admin') };

test('a stop does not signal a group whose number has gone to another process meanwhile', needs, async (t) => {
  const folder = temporaryFolder(t);
  const args = [plainFixture('asked-to-end.py'), folder];
  const spec = sleepSpec(t, { command: 'python3', args, stopTimeoutMs: 2_000 });
  const command = [process.execPath, fixture('reused-pid'), JSON.stringify(spec), folder];
  const { stdout, stderr } = await startProgram(t, 'unshare', [
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    ...command,
  ]).ended();
  assert.notEqual(stdout, '', stderr);
  const { server, stranger, strangerState, outcome } = JSON.parse(stdout) as Report;
  assert.equal(stranger, server);
  assert.equal(strangerState, 'S');
  assert.equal(JSON.parse(outcome).result.outcome, 'stopped');
});

test('process 1 of a PID namespace is not signalled from inside, and neither is everybody', needs, async (t) => {
  const args = ['--pid', '--fork', '--mount-proc', 'setsid', 'sleep', '300'];
  const spec = sleepSpec(t, { name: 'namespace', command: 'unshare', args, stopTimeoutMs: 300 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const first = await eventually('process 1', async () => {
    const inner = (await lockHolders(manager.spec.lockFile)).find((holder) => holder !== pid);
    return inner !== undefined && statusField(inner, 'Name') === 'sleep' ? inner : undefined;
  });
  assert.match(statusField(first, 'NSpid'), /\t1$/);
  const wrapper = ['nsenter', '--target', String(first), '--pid', '--mount'];
  const bystander = startProgram(t, 'nsenter', [...wrapper.slice(1), 'sh', '-c', 'echo up; exec sleep 300']);
  await bystander.printed(/up/);
  const ticks = startTicks(first);
  await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, { wrapper }), {
    name: 'StopTimeoutError',
    holders: [1],
  });
  const early = await Promise.race([
    bystander.exited,
    new Promise((resolve) => setTimeout(resolve, STILL_MS, 'lives')),
  ]);
  assert.equal(early, 'lives');
  assert.equal(startTicks(first), ticks);
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.deepEqual([pid, first].map(isRunningProcess), [false, false]);
});

for (const [stopSignal, number] of [
  ['SIGIOT', 6],
  ['SIGSTKFLT', 16],
] as const) {
  test(`${stopSignal} as stop signal reaches a tied server whose owner dies`, async (t) => {
    const folder = temporaryFolder(t);
    const args = [plainFixture('asked-to-end.py'), folder];
    const spec = sleepSpec(t, { command: 'python3', args, lifetime: 'tied', stopTimeoutMs: 60_000, stopSignal });
    const { pid, program } = await startOwner(t, spec);
    killAfter(t, pid);
    await eventually('it is up', () => existsSync(join(folder, 'up')));
    program.kill();
    await eventually('the stop signal', () => existsSync(join(folder, 'asked')));
    assert.equal(Number(readFileSync(join(folder, 'asked'), 'utf8')), number);
    writeFileSync(join(folder, 'go'), '');
    await eventually('its end', () => !isRunningProcess(pid));
  });
}
