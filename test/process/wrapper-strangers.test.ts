/** Who is in the session of a killed wrapper, or writes into its log, and is none of ours all the same. */
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
  test(`others in the session of a killed wrapper who do not log there survive a ${call}`, async (t) => {
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

test('who writes to /dev/null is not told from others: nobody is ended', async (t) => {
  const spec = await wrappedSpec(t, 'node', {}, { logFile: '/dev/null' });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const server = await eventually('a server', () => serversOf(spec)[0]);
  process.kill(pid, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(isRunningProcess(server), true);
});

interface Doubt {
  /** The leader of the session is gone: nothing but the case itself tells that it is not ours. */
  isOrphan: boolean;
  change?: (spawn: Record<string, unknown>) => Record<string, unknown>;
  after?: (spec: ProcessSpec) => void;
}

const doubts: Record<string, Doubt> = {
  'the number of the session was given to another process': { isOrphan: false },
  'the session is one of another boot': { isOrphan: true, change: (spawn) => ({ ...spawn, boot: 'another' }) },
  'the session is no number': { isOrphan: true, change: ({ session: _, ...spawn }) => ({ ...spawn, session: 'x' }) },
  'the log is none': { isOrphan: true, change: ({ log: _, ...spawn }) => spawn },
  'a stop has come to its end since': { isOrphan: true, after: (spec) => appendToJournal(spec, 'stopped') },
  'others may write the journal': { isOrphan: true, after: (spec) => chmodSync(journalFile(spec), 0o622) },
};
for (const [why, { isOrphan, change, after }] of Object.entries(doubts)) {
  test(`who logs there is a stranger when ${why}`, async (t) => {
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

test('who logs there is ended when nothing speaks against it', async (t) => {
  const { manager, spec } = await endedWrapper(t);
  const { leader, stranger } = await startInSession(t, manager, true);
  appendToJournal(spec, 'spawn', { ...journalEntries(spec, 'spawn').at(-1), session: leader });
  assert.equal((await manager.status()).state, 'unhealthy');
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(stranger), false);
});

/** Killed with everything that it had started: only the journal speaks of it. */
async function endedWrapper(t: TestContext): Promise<Wrapped> {
  const wrapped = await startWrapped(t, 'node');
  await loseWrapper(wrapped);
  process.kill(wrapped.server, 'SIGKILL');
  await eventually('the end of the server', () => !isRunningProcess(wrapped.server));
  return wrapped;
}

/** A session of its own whose members log where the manager's process does: its leader, and a child of that. */
async function startInSession(
  t: TestContext,
  manager: ProcessManager,
  isOrphan: boolean,
): Promise<{ leader: number; stranger: number }> {
  const logFd = openSync(manager.spec.logFile, 'a');
  const script = `sleep 300 & echo "stranger $!"; ${isOrphan ? 'exit' : 'wait'}`;
  const leader = startProgram(t, 'setsid', ['sh', '-c', script], { stdio: ['ignore', logFd, logFd] });
  closeSync(logFd);
  const stranger = await eventually('a stranger', () => loggedPids(manager, 'stranger')[0]);
  killAfter(t, stranger);
  if (isOrphan) await leader.ended();
  return { leader: leader.pid, stranger };
}
