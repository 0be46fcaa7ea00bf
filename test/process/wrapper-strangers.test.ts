/** Processes that are in the session of a killed wrapper, or write into its log, and are strangers all the same. */
import assert from 'node:assert/strict';
import { chmodSync, closeSync, openSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { appendToJournal, journalEntries, journalFile } from '../helpers/journal.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';
import { loggedPids, loseWrapper, serversOf, startWrapped, type Wrapped, wrappedSpec } from '../helpers/wrapped.js';

for (const call of ['start', 'stop', 'restart'] as const) {
  test(`others in the session of a killed wrapper that do not write into its log survive a ${call}`, async (t) => {
    const wrapped = await startWrapped(t, 'node', { flags: ['--strangers'] });
    const strangers = loggedPids(wrapped.manager, 'stranger').map((pid) => killAfter(t, pid));
    assert.equal(strangers.length, 3);
    await loseWrapper(wrapped);
    await wrapped.manager[call]();
    assert.equal(isRunningProcess(wrapped.server), false);
    assert.deepEqual(strangers.filter(isRunningProcess), strangers);
    for (const pid of strangers) process.kill(pid, 'SIGKILL');
  });
}

test('after a wrapper with /dev/null as its log was killed, its server is ignored, since the log proves nothing', async (t) => {
  const spec = await wrappedSpec(t, 'node', {}, { logFile: '/dev/null' });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const server = await eventually('the server runs', () => serversOf(spec)[0]);
  process.kill(pid, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(isRunningProcess(server), true);
});

interface Doubt {
  /** The leader of the session has ended, so that nothing but the case itself makes its members strangers. */
  isOrphan: boolean;
  change?: (spawn: Record<string, unknown>) => Record<string, unknown>;
  after?: (spec: ProcessSpec) => void;
}

const doubts: Record<string, Doubt> = {
  'the number of the session was given to another process': { isOrphan: false },
  'the session is one of another boot': { isOrphan: true, change: (spawn) => ({ ...spawn, boot: 'another' }) },
  'the session is no number': { isOrphan: true, change: ({ session: _, ...spawn }) => ({ ...spawn, session: 'x' }) },
  'no log is recorded': { isOrphan: true, change: ({ log: _, ...spawn }) => spawn },
  'a stop has ended since': { isOrphan: true, after: (spec) => appendToJournal(spec, 'stopped') },
  'others may write the journal': { isOrphan: true, after: (spec) => chmodSync(journalFile(spec), 0o622) },
};
for (const [why, { isOrphan, change, after }] of Object.entries(doubts)) {
  test(`a process in the session that writes into the log is a stranger when ${why}`, async (t) => {
    const { manager, spec } = await endedWrapper(t);
    const { leader, stranger } = await startInSession(t, manager, isOrphan);
    const spawn = journalEntries(spec, 'spawn').at(-1);
    const named = { ...spawn, session: leader };
    appendToJournal(spec, 'spawn', change?.(named) ?? named);
    after?.(spec);
    assert.equal((await manager.status()).state, 'stopped');
    await manager.start();
    await manager.stop();
    assert.equal(isRunningProcess(stranger), true);
  });
}

test('a process in the session that writes into the log is ended when nothing speaks against it', async (t) => {
  const { manager, spec } = await endedWrapper(t);
  const { leader, stranger } = await startInSession(t, manager, true);
  appendToJournal(spec, 'spawn', { ...journalEntries(spec, 'spawn').at(-1), session: leader });
  assert.equal((await manager.status()).state, 'unhealthy');
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(stranger), false);
});

/** A wrapper that was killed together with all that it had started, so that only the journal tells of it. */
async function endedWrapper(t: TestContext): Promise<Wrapped> {
  const wrapped = await startWrapped(t, 'node');
  await loseWrapper(wrapped);
  process.kill(wrapped.server, 'SIGKILL');
  await eventually('the server has ended', () => !isRunningProcess(wrapped.server));
  return wrapped;
}

/** Starts a session whose members write into the log of the manager's process: its leader, and a child of the leader. */
async function startInSession(
  t: TestContext,
  manager: ProcessManager,
  isOrphan: boolean,
): Promise<{ leader: number; stranger: number }> {
  const logFd = openSync(manager.spec.logFile, 'a');
  const script = `sleep 300 & echo "stranger $!"; ${isOrphan ? 'exit' : 'wait'}`;
  const leader = startProgram(t, 'setsid', ['sh', '-c', script], { stdio: ['ignore', logFd, logFd] });
  closeSync(logFd);
  const stranger = await eventually('the log names the stranger', () => loggedPids(manager, 'stranger')[0]);
  killAfter(t, stranger);
  if (isOrphan) await leader.ended();
  return { leader: leader.pid, stranger };
}
