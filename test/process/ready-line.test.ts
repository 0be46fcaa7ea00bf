/** With `readyLine` a process is ready when it has printed that line, and listens on the port that the line names. */
import assert from 'node:assert/strict';
import { statSync, truncateSync } from 'node:fs';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { type Instance, ProcessManager, type ProcessSpec, type Status } from '../../src/index.js';
import { journalEntries } from '../helpers/journal.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { freePort } from '../helpers/resources.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { fileGate, PORT_LINE, type Step, stateAfter, talkerSpec } from '../helpers/talker.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

type Test = Parameters<typeof talkerSpec>[0];

/** Asserts that a talker is not ready by its first steps, and is ready by the steps after the gate. */
async function assertReadyOnlyAfter(
  t: Test,
  before: readonly Step[],
  after: readonly Step[],
  changes: Partial<ProcessSpec>,
): Promise<{ manager: ProcessManager; instance: Instance }> {
  const gate = fileGate(t);
  const manager = new ProcessManager(talkerSpec(t, [...before, 'so far\n', gate.step, ...after], changes));
  const start = manager.start();
  start.catch(() => undefined);
  await eventually('the first lines are in the log', async () => (await manager.logTail()).includes('so far'));
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  assert.equal((await manager.status()).state, 'starting');
  gate.open();
  return { manager, instance: await start };
}

const READY: readonly [what: string, readyLine: string | RegExp, line: string][] = [
  ['a string that the line contains', 'is ready', 'the server is ready now\n'],
  ['a RegExp', /^the \w+ is ready$/, 'the server is ready\n'],
  ['a RegExp, at a line end of two characters', /ready$/, 'the server is ready\r\n'],
  ['a RegExp of another realm', runInNewContext('/is ready/'), 'the server is ready\n'],
  [
    'a string in a line with colour codes, a title and a link',
    'server ready on http://localhost',
    '\x1b]0;a title\x07\x1b[1mser\x1b[38;5;12mver\x1b[0m \x1b[32mready\x1b[39m on \x1b]8;;http://localhost\x07http://localhost\x1b]8;;\x07\n',
  ],
  ['letters beyond ASCII', /^läuft …$/, 'läuft …\n'],
];

for (const [what, readyLine, line] of READY) {
  test(`a process is ready by a line that matches ${what}`, async (t) => {
    await assertReadyOnlyAfter(t, ['the server is about to be\n'], [line], { readyLine });
  });
}

test('a process is ready by a line on stderr', async (t) => {
  await assertReadyOnlyAfter(t, [], [{ stderr: 'the server is ready\n' }], { readyLine: 'is ready' });
});

test('a match counts within the first 64 KiB of a line, and not after them', async (t) => {
  const tooFar = [{ xs: 64 * 1024 - 7 }, 'is ready\n'];
  const justEnough = [{ xs: 64 * 1024 - 8 }, 'is ready', { xs: 300_000 }, '\n'];
  await assertReadyOnlyAfter(t, tooFar, justEnough, { readyLine: 'is ready' });
});

test('a RegExp with the flag g or y matches anywhere, and keeps its lastIndex', async (t) => {
  for (const flags of ['g', 'y', 'gy', 'dgimsuy']) {
    const readyLine = new RegExp('is ready', flags);
    readyLine.lastIndex = 1_000;
    await new ProcessManager(talkerSpec(t, ['the server is ready\n'], { readyLine })).start();
    assert.equal(readyLine.lastIndex, 1_000);
  }
});

test('a line that is written in two halves counts as one line', async (t) => {
  const port = await freePort();
  const [firstHalf, secondHalf] = [`listening on port ${String(port).slice(0, 2)}`, `${String(port).slice(2)}\n`];
  const gate = fileGate(t);
  const spec = talkerSpec(t, [{ listen: port }, firstHalf, gate.step, secondHalf], { readyLine: PORT_LINE });
  const manager = new ProcessManager(spec);
  const start = manager.start();
  await eventually('the first half of the line is in the log', async () =>
    (await manager.logTail()).includes(firstHalf),
  );
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  gate.open();
  assert.equal((await start).address, `127.0.0.1:${port}`);
});

test('a ready line after a hundred megabytes of output is found', async (t) => {
  const spec = talkerSpec(t, [{ bytes: 100 * 1024 * 1024 }, 'it is ready\n'], {
    readyLine: 'is ready',
    startTimeoutMs: 60_000,
  });
  const manager = new ProcessManager(spec);
  await manager.start();
  assert.ok(statSync(manager.spec.logFile).size > 100 * 1024 * 1024);
});

test('a truncated log is read again from its start', async (t) => {
  const gate = fileGate(t);
  const spec = talkerSpec(t, ['x'.repeat(5_000), 'so far\n', gate.step, 'it is ready\n'], { readyLine: 'is ready' });
  const manager = new ProcessManager(spec);
  const start = manager.start();
  const { logFile } = manager.spec;
  await eventually('the first lines are in the log', async () =>
    (await manager.logTail()).some((line) => line.endsWith('so far')),
  );
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  truncateSync(logFile);
  gate.open();
  await start;
  assert.equal(statSync(logFile).size, 'it is ready\n'.length);
});

test('the ready line of an earlier start does not count', async (t) => {
  const gate = fileGate(t);
  const said = talkerSpec(t, ['it is ready\n'], { readyLine: 'is ready' });
  await new ProcessManager(said).start();
  await new ProcessManager(said).stop();
  const [, script = ''] = [said.command, said.args?.[0]];
  const manager = new ProcessManager({ ...said, args: [script, JSON.stringify([gate.step, 'it is ready\n'])] });
  const start = manager.start();
  await eventually('the process is spawned', () => journalEntries(said, 'spawn').length === 2);
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  gate.open();
  await start;
});

test('the port in the ready line is the address, in another process too, which does not read the log', async (t) => {
  const spec = talkerSpec(t, [{ listen: 0 }, 'listening on port %PORT%\n'], { readyLine: PORT_LINE });
  const remote = await startRemoteManager(t, spec);
  const { pid, address = '' } = await remote.start();
  const port = Number(address.replace('127.0.0.1:', ''));
  assert.equal(journalEntries(spec, 'ready').at(-1)?.port, port);
  const manager = new ProcessManager(spec);
  truncateSync(manager.spec.logFile);
  const found = await manager.start();
  assert.deepEqual([found.pid, found.address, found.reused], [pid, address, true]);
  const { state, checks, address: reported } = await manager.status();
  assert.deepEqual([state, checks.port, checks.health, reported], ['running', true, undefined, address]);
});

test('the port in the ready line wins over the port of the spec, where nobody listens', async (t) => {
  const port = await freePort();
  const spec = talkerSpec(t, [{ listen: 0 }, 'listening on port %PORT%\n'], { readyLine: PORT_LINE, port });
  const manager = new ProcessManager(spec);
  const asked: unknown[] = [];
  const { address } = await new ProcessManager({
    ...spec,
    isHealthy: (instance) => asked.push(instance.address) > 0,
  }).start();
  assert.notEqual(address, `127.0.0.1:${port}`);
  assert.deepEqual(asked, [address]);
  const running = await manager.status();
  assert.deepEqual([running.state, running.address], ['running', address]);
  await manager.stop();
  assert.equal((await manager.status()).address, `127.0.0.1:${port}`);
});

test('a line with a wrong port does not count, and a line with a closed port is not enough', async (t) => {
  const closed = await freePort();
  const steps = ['listening on port 0\n', 'listening on port 70000\n', `listening on port ${closed}\n`];
  const manager = new ProcessManager(talkerSpec(t, steps, { readyLine: PORT_LINE, startTimeoutMs: 3_000 }));
  await assert.rejects(manager.start(), {
    name: 'StartTimeoutError',
    message: new RegExp(`it does not accept connections on 127\\.0\\.0\\.1:${closed};`),
  });
});

test('the error of a start whose ready line never comes names that line', async (t) => {
  const spec = talkerSpec(t, ['nearly\n'], { readyLine: /is ready/, startTimeoutMs: 300 });
  await assert.rejects(new ProcessManager(spec).start(), {
    name: 'StartTimeoutError',
    message: /it has not printed its ready line, \/is ready\//,
  });
});

test('isHealthy is called when the ready line has come, and not before', async (t) => {
  const gate = fileGate(t);
  let isOpen = false;
  const isHealthy = () => isOpen || assert.fail('not yet');
  const spec = talkerSpec(t, [gate.step, 'it is ready\n'], { readyLine: 'is ready', isHealthy });
  const start = new ProcessManager(spec).start();
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  isOpen = true;
  gate.open();
  await start;
});

test('when a starter is killed before the ready line the next start finds the line, and records its port for others', async (t) => {
  const gate = fileGate(t);
  const steps = [{ listen: 0 }, 'so far\n', gate.step, 'listening on port %PORT%\n'];
  const spec = talkerSpec(t, steps, { readyLine: PORT_LINE });
  const manager = new ProcessManager(spec);
  const remote = await startRemoteManager(t, spec);
  void remote.start().catch(() => undefined);
  await eventually('the first lines are in the log', async () => (await manager.logTail()).includes('so far'));
  remote.kill();
  await remote.program.exited;
  const start = manager.start();
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  gate.open();
  const { pid, address, reused } = await start;
  assert.deepEqual([pid, reused], [journalEntries(spec, 'spawn').at(-1)?.pid, true]);
  const ready = journalEntries(spec, 'ready').map(({ by, port }) => ({ by, port }));
  assert.deepEqual(ready, [{ by: process.pid, port: Number(address?.replace('127.0.0.1:', '')) }]);
  truncateSync(manager.spec.logFile);
  const other = await startRemoteManager(t, spec);
  assert.equal((await other.start()).address, address);
});

test('a server that a supervisor restarted is found at its new port', async (t) => {
  const supervision = new Supervision(t);
  const spec = talkerSpec(t, [{ listen: 0 }, 'listening on port %PORT%\n'], { readyLine: PORT_LINE });
  const manager = new ProcessManager(spec);
  const instances: Instance[] = [];
  manager.on('ready', (instance) => instances.push(instance));
  const supervisor = supervision.add(manager.supervise());
  await eventually('the process is ready', () => instances.length === 1);
  process.kill(instances[0]?.pid as number, 'SIGKILL');
  await eventually('the process is ready again', () => instances.length === 2);
  const [first, second] = instances;
  assert.notEqual(second?.address, first?.address);
  const elsewhere = await startRemoteManager(t, spec);
  const status: Status = await elsewhere.status();
  assert.deepEqual([status.state, status.address, status.pid], ['running', second?.address, second?.pid]);
  await supervisor.stop();
});
