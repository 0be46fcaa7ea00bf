import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { logged } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec } from '../helpers/servers.js';

const MIB = 2 ** 20;

async function rotating(t: TestContext, logRotation?: ProcessSpec['logRotation']): Promise<ProcessManager> {
  const spec = await nodeSpec(t, {}, logRotation === undefined ? {} : { logRotation });
  return new ProcessManager(spec);
}

/** Who wrote which file: the ending of each name, '' for the newest, with the PID in its first line. */
function writers({ spec: { logFile } }: ProcessManager): Record<string, string | undefined> {
  const files = readdirSync(dirname(logFile)).sort();
  return Object.fromEntries(
    files.map((name) => [
      name.replace(basename(logFile), ''),
      /^server (\d+)/m.exec(readFileSync(`${dirname(logFile)}/${name}`, 'utf8'))?.[1],
    ]),
  );
}

async function started(manager: ProcessManager): Promise<string> {
  const { pid } = await manager.start();
  await logged(manager.spec.logFile, new RegExp(`^server ${pid}`, 'm'));
  return String(pid);
}

async function run(manager: ProcessManager): Promise<string> {
  const pid = await started(manager);
  await manager.stop();
  return pid;
}

/** Makes the log this many bytes long, with a whole last line. */
function fill({ spec: { logFile } }: ProcessManager, bytes: number): void {
  truncateSync(logFile, bytes - 1);
  appendFileSync(logFile, '\n');
}

test('by default a log grows up to 10 MiB, and one older log is kept', async (t) => {
  const manager = await rotating(t);
  assert.deepEqual(manager.spec.logRotation, { overBytes: 10 * MIB, keep: 1 });
  const first = await run(manager);
  fill(manager, 10 * MIB);
  await run(manager);
  assert.deepEqual(writers(manager), { '': first });
  const third = await run(manager);
  assert.deepEqual(writers(manager), { '': third, '.1': first });
  fill(manager, 11 * MIB);
  const fourth = await run(manager);
  assert.deepEqual(writers(manager), { '': fourth, '.1': third });
});

test('with overBytes 0 each start that spawns has a log of its own, and the log before is kept', async (t) => {
  const manager = await rotating(t, { overBytes: 0 });
  assert.equal(manager.spec.logRotation.keep, 1);
  const runs = [await run(manager), await run(manager), await run(manager)];
  assert.deepEqual(writers(manager), { '': runs[2], '.1': runs[1] });
  const fourth = await started(manager);
  const fifth = String((await manager.restart()).pid);
  await logged(manager.spec.logFile, /^listening$/m);
  assert.deepEqual(writers(manager), { '': fifth, '.1': fourth });
  assert.deepEqual(await manager.logTail(1), ['listening']);
});

test('a start that finds the process running rotates nothing, nor does a start that loses a race, nor any other call', async (t) => {
  const manager = await rotating(t, { overBytes: 0, keep: 5 });
  const before = await run(manager);
  const remotes = await Promise.all([1, 2, 3].map(() => startRemoteManager(t, manager.spec)));
  const pids = new Set((await Promise.all(remotes.map((remote) => remote.start()))).map(({ pid }) => pid));
  assert.equal(pids.size, 1);
  const pid = await started(manager);
  await manager.status();
  await manager.logTail();
  assert.deepEqual(writers(manager), { '': pid, '.1': before });
  await manager.stop();
  assert.deepEqual(writers(manager), { '': pid, '.1': before });
});

test('a start that fails before it spawns rotates nothing', async (t) => {
  const manager = await rotating(t, { overBytes: 0 });
  const pid = await run(manager);
  const other = new ProcessManager({ ...manager.spec, command: 'no-such-command' });
  await assert.rejects(other.start(), { name: 'CommandNotFoundError' });
  assert.deepEqual(writers(manager), { '': pid });
});

test('an empty log stays where it is', async (t) => {
  const manager = await rotating(t, { overBytes: 0 });
  mkdirSync(dirname(manager.spec.logFile), { recursive: true });
  writeFileSync(manager.spec.logFile, '');
  const pid = await run(manager);
  assert.deepEqual(writers(manager), { '': pid });
});

test('the log keeps as many older files as keep says, drops the oldest first, and fills a gap before it drops one', async (t) => {
  const manager = await rotating(t, { overBytes: 0, keep: 3 });
  const { logFile } = manager.spec;
  const runs: string[] = [];
  for (let count = 0; count < 5; count += 1) runs.push(await run(manager));
  assert.deepEqual(writers(manager), { '': runs[4], '.1': runs[3], '.2': runs[2], '.3': runs[1] });
  const gap = await rotating(t, { overBytes: 0, keep: 3 });
  const first = await run(gap);
  writeFileSync(`${gap.spec.logFile}.3`, 'server 3\n');
  const second = await run(gap);
  const third = await run(gap);
  assert.deepEqual(writers(gap), { '': third, '.1': second, '.2': first, '.3': '3' });
  assert.equal(existsSync(`${logFile}.4`), false);
});

test('with keep 0 no older log is kept, and with a large number all of them', async (t) => {
  const none = await rotating(t, { overBytes: 0, keep: 0 });
  await run(none);
  const last = await run(none);
  assert.deepEqual(writers(none), { '': last });
  const all = await rotating(t, { overBytes: 0, keep: 1_000 });
  const runs = [await run(all), await run(all), await run(all)];
  assert.deepEqual(writers(all), { '': runs[2], '.1': runs[1], '.2': runs[0] });
});

test('a log is rotated when it has more than overBytes bytes, and not at overBytes', async (t) => {
  const manager = await rotating(t, { overBytes: 5_000 });
  const { logFile } = manager.spec;
  await run(manager);
  fill(manager, 5_000);
  await run(manager);
  assert.equal(existsSync(`${logFile}.1`), false);
  const { size } = statSync(logFile);
  await run(manager);
  assert.equal(statSync(`${logFile}.1`).size, size);
});
