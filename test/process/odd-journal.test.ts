/** Journals that another program has locked, or that others may write to, and journals that name others. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, type Instance, ProcessManager } from '../../src/index.js';
import { Journal, journalOf } from '../../src/state/journal.js';
import { processTable } from '../../src/system/process-table.js';
import { startBystanders } from '../helpers/bystanders.js';
import { isRunningProcess, startTicks } from '../helpers/evidence.js';
import { appendToJournal, type JournalEntry, journalEntries, journalFile } from '../helpers/journal.js';
import { callElsewhere, unlessRoot } from '../helpers/one-call.js';
import { logged } from '../helpers/outside-view.js';
import { POWERLESS } from '../helpers/powerless.js';
import { startProgram } from '../helpers/programs.js';
import { sleepSpec } from '../helpers/servers.js';
import { startOwner } from '../helpers/tied.js';

test('a start gives up in time while another program keeps the journal locked, and does not block the event loop', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 500 });
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  // This start undoes the pending stop, so that the next start has no stop to wait for.
  await manager.start();
  process.kill((await manager.status()).pid as number, 'SIGKILL');
  const keepLocked = 'open my $f, "<", $ARGV[0]; flock $f, 1; $| = 1; print "locked\n"; sleep 300';
  const program = startProgram(t, 'perl', ['-e', keepLocked, journalFile(spec)]);
  await program.printed(/locked/);
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 10);
  t.after(() => clearInterval(timer));
  await assert.rejects(manager.start(), { code: 'ERR_STATE_FILE', path: journalFile(spec) });
  assert.ok(turns > 10, `${turns} turns`);
  program.kill();
  await program.ended();
  assert.equal((await manager.start()).reused, false);
});

test('a start after a stop reports the locked journal, not the process that is gone', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 500, stopTimeoutMs: 0 });
  const manager = new ProcessManager(spec);
  await manager.start();
  const keepLocked = 'open my $f, "<", $ARGV[0]; flock $f, 1; $| = 1; print "locked\n"; sleep 300';
  const program = startProgram(t, 'perl', ['-e', keepLocked, journalFile(spec)]);
  await program.printed(/locked/);
  await manager.stop();
  await assert.rejects(manager.start(), { code: 'ERR_STATE_FILE', path: journalFile(spec) });
});

test('the time in which a start waits for a restart that keeps the journal locked does not count as start time', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 500 });
  const { pid } = await new ProcessManager(spec).start();
  const journal = new Journal(journalFile(spec));
  const work = await journal.workOn('restart');
  const manager = new ProcessManager(spec);
  const start = manager.start();
  // This is twice its start time, and the start waits all the while.
  await delay(1_000);
  // This is what another start leaves that has undone the line and is suspended before it releases the lock of the journal.
  const { endPlace } = journal.read();
  journal.append('start', { undoes: endPlace });
  await delay(200);
  work.release();
  assert.deepEqual(
    { ...(await start), startedAt: undefined },
    { pid, address: undefined, reused: true, differences: [], startedAt: undefined },
  );
});

test('a holder of the lock is not taken for a survivor because of a journal that others may write to', async (t) => {
  const spec = sleepSpec(t, { stopTimeoutMs: 100 });
  const manager = new ProcessManager(spec);
  const lock = acquireLock(manager.spec.lockFile);
  const stranger = startProgram(t, 'perl', ['-e', 'sleep 300'], { stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
  lock.handOver();
  writeFileSync(journalFile(spec), '{"id":"some","base":0,"kept":[]}\n');
  appendToJournal(spec, 'spawn', { pid: 0x3fffff, startKey: '1', boot: processTable().boot(), fd: 3 });
  chmodSync(journalFile(spec), 0o666);
  await assert.rejects(manager.stop(), { code: 'ERR_STOP_TIMEOUT', holders: [stranger.pid] });
  assert.equal(isRunningProcess(stranger.pid), true);
  stranger.kill();
  await stranger.ended();
});

test('a starter that is a zombie, or that did not record its start time, does not keep others from its server', async (t) => {
  const { zombie } = await startBystanders(t);
  const spec = sleepSpec(t, { startTimeoutMs: 1_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  // The journal now looks as if that starter had spawned the process and was killed before it wrote `ready`.
  const [spawn] = journalEntries(spec, 'spawn') as [JournalEntry];
  const startKey = startTicks(zombie);
  for (const starter of [{ by: zombie, startKey }, { by: 0x3fffff }]) {
    const { endPlace } = journalOf(manager.spec).read();
    appendToJournal(spec, 'start', { ...starter, undoes: endPlace });
    appendToJournal(spec, 'spawn', spawn);
    assert.deepEqual(await manager.start().then((instance) => [instance.pid, instance.reused]), [pid, true]);
  }
});

test('a start replaces a process with a ready line whose starter was killed before it named the process', async (t) => {
  const args = ['-c', 'echo it is ready; exec sleep 300'];
  const spec = sleepSpec(t, { command: '/bin/sh', args, readyLine: 'it is ready', startTimeoutMs: 10_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const { endPlace } = journalOf(manager.spec).read();
  appendToJournal(spec, 'start', { by: 0x3fffff, startKey: '1', undoes: endPlace });
  const next = await manager.start();
  assert.equal(next.reused, false);
  assert.deepEqual([pid, next.pid].map(isRunningProcess), [false, true]);
});

test('a process with a ready line is left alone while a starter whose descriptors cannot be seen lives', {
  skip: unlessRoot,
}, async (t) => {
  const args = ['-c', 'echo it is ready; exec sleep 300'];
  const spec = sleepSpec(t, { command: '/bin/sh', args, readyLine: 'it is ready', startTimeoutMs: 3_000 });
  const { pid } = await callElsewhere<Instance>(t, 'start', spec, { wrapper: POWERLESS });
  const { endPlace } = journalOf(new ProcessManager(spec).spec).read();
  const sinceBootMs = processTable().sinceBootMs();
  // This process has more capabilities than the next starter, which therefore cannot see its descriptors.
  appendToJournal(spec, 'start', {
    by: process.pid,
    startKey: startTicks(process.pid),
    fd: 0,
    undoes: endPlace,
    sinceBootMs,
  });
  await assert.rejects(callElsewhere(t, 'start', spec, { wrapper: POWERLESS }), { name: 'UnhealthyError' });
  assert.equal(isRunningProcess(pid), true);
  // No start takes an hour: such a line is of one that its program has outlived.
  const old = {
    sinceBootMs: sinceBootMs - 3_600_000,
    undoes: journalOf(new ProcessManager(spec).spec).read().endPlace,
  };
  appendToJournal(spec, 'start', { by: process.pid, startKey: startTicks(process.pid), fd: 0, ...old });
  const next = await callElsewhere<Instance>(t, 'start', spec, { wrapper: POWERLESS });
  assert.deepEqual([next.reused, isRunningProcess(pid)], [false, false]);
});

test('a start waits for a tied process with a ready line whose owner was killed, and does not end it once more', {
  skip: process.platform !== 'linux' && 'needs /proc',
}, async (t) => {
  const script =
    'process.on("SIGTERM", () => { console.log("asked"); setTimeout(() => process.exit(), 1_000); }); console.log("ready");' +
    'setInterval(() => 0, 1_000)';
  const args = ['-e', script];
  const spec = sleepSpec(t, { command: process.execPath, args, readyLine: 'ready', lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  const owner = await startOwner(t, spec);
  const { endPlace } = journalOf(manager.spec).read();
  appendToJournal(spec, 'start', { by: 0x3fffff, startKey: '1', undoes: endPlace });
  owner.program.kill('SIGKILL');
  await logged(manager.spec.logFile, /asked/);
  const { reused } = await manager.start();
  assert.equal(reused, false);
  assert.equal(readFileSync(manager.spec.logFile, 'utf8').match(/asked/g)?.length, 1);
});

test('a stop that a start has undone does not report the process of that start as ended', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const keepLocked = 'open my $f, "<", $ARGV[0]; flock $f, 2; $| = 1; print "locked\\n"; sleep 300';
  const starter = startProgram(t, 'perl', ['-e', keepLocked, journalFile(spec)]);
  await starter.printed(/locked/);
  const stopping = manager.stop();
  const { endPlace } = journalOf(manager.spec).read();
  appendToJournal(spec, 'start', { undoes: endPlace });
  starter.kill();
  assert.equal((await stopping).outcome, 'not-running');
  assert.deepEqual(journalEntries(spec, 'stopped'), []);
  assert.equal(isRunningProcess(pid), true);
});

test('a process that leads no session, and PID 1, are not ended because of the journal alone', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const stranger = startProgram(t, 'sleep', ['300']);
  for (const pid of [stranger.pid, 1]) {
    appendToJournal(spec, 'spawn', { pid, startKey: startTicks(pid), boot: processTable().boot(), fd: 3 });
    assert.equal((await manager.status()).state, 'stopped');
    assert.equal((await manager.stop()).outcome, 'not-running');
    appendToJournal(spec, 'spawn', { pid, startKey: startTicks(pid), boot: processTable().boot(), fd: 3 });
    assert.equal((await manager.start()).reused, false);
    await manager.stop();
  }
  assert.equal(isRunningProcess(stranger.pid), true);
});

test('a server whose starter was killed before it recorded the PID is not taken for a survivor of the previous one', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const { pid } = await manager.start();
  const file = journalFile(spec);
  const ofThisStart = JSON.stringify(journalEntries(spec, 'spawn').at(-1));
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.slice(0, text.indexOf(ofThisStart)));
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
  const again = await manager.start();
  assert.deepEqual([again.pid, again.reused], [pid, true]);
  assert.equal((await manager.stop()).outcome, 'stopped');
});
