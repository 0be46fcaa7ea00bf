/** `predecessor` names a living process that another scheme manages: while it lives start() and become() are refused. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, PredecessorError, ProcessManager, type ProcessSpec, SpawnError } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf } from '../helpers/gate.js';
import { journalEntries } from '../helpers/journal.js';
import { startProgram } from '../helpers/programs.js';
import { freePort } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';

test('beside a predecessor start(), restart() and become() are refused, status() is unknown, and stop() leaves it alone', async (t) => {
  const { pid } = startProgram(t, 'sleep', ['300']);
  let asked = 0;
  const predecessor = () => {
    asked += 1;
    return pid;
  };
  const manager = new ProcessManager(sleepSpec(t, { predecessor }));
  const isRefused = {
    code: 'ERR_PREDECESSOR',
    pid,
    message: new RegExp(`PID ${pid} .* stop it with .* "kill ${pid}"`),
  };
  await assert.rejects(manager.start(), PredecessorError);
  await assert.rejects(manager.start(), isRefused);
  await assert.rejects(manager.become(), isRefused);
  await assert.rejects(manager.restart(), isRefused);
  assert.equal(asked, 4);
  assert.deepEqual(journalEntries(manager.spec, 'spawn'), []);
  assert.equal(isLocked(manager.spec.lockFile), false);
  // The starter lives on, and no reader of the lock file may take it for the process.
  assert.equal(readFileSync(manager.spec.lockFile, 'utf8'), '');

  const { state, pid: reported, checks } = await manager.status();
  assert.deepEqual(
    [state, reported, checks.lock, checks.process, checks.identity],
    ['unknown', pid, false, true, false],
  );
  assert.equal(asked, 5);
  assert.equal(await manager.isRunning(), false);
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(asked, 5);
  assert.equal(isRunningProcess(pid), true);
});

test('start() and become() call predecessor() under the lock before a spawn, and nobody calls it while the process runs', async (t) => {
  const seen: unknown[] = [];
  const spec = sleepSpec(t);
  const predecessor = async () => {
    await delay(5);
    const { lockFile } = new ProcessManager(spec).spec;
    seen.push([isLocked(lockFile), journalEntries(spec, 'start').length, journalEntries(spec, 'spawn').length]);
    return undefined;
  };
  const manager = new ProcessManager({ ...spec, predecessor });
  assert.equal((await manager.status()).state, 'stopped');
  await manager.start();
  await manager.start();
  assert.equal((await manager.status()).state, 'running');
  await manager.stop();
  const managed = await manager.become();
  managed.release();
  assert.deepEqual(seen, [
    [false, 0, 0],
    [true, 1, 0],
    [true, 2, 1],
  ]);
});

test('a predecessor that listens on the port is named as the predecessor', async (t) => {
  const port = await freePort();
  const listener = createServer();
  await new Promise<void>((listening) => listener.listen(port, '127.0.0.1', listening));
  t.after(() => listener.close());
  const { pid } = startProgram(t, 'sleep', ['300']);
  const spec = await redisSpec(t, { port });
  await assert.rejects(new ProcessManager({ ...spec, predecessor: () => pid }).start(), PredecessorError);
  await assert.rejects(new ProcessManager({ ...spec, predecessor: () => undefined }).start(), {
    code: 'ERR_PORT_IN_USE',
  });
});

const answers: Record<string, [NonNullable<ProcessSpec['predecessor']>, RegExp]> = {
  'an exception': [
    () => {
      throw new Error('its files cannot be read');
    },
    /its files cannot be read/,
  ],
  'a rejection': [() => Promise.reject(new Error('its socket is dead')), /its socket is dead/],
  'no answer': [() => new Promise(() => undefined), /no answer within 100 ms/],
  'a wrong answer': [() => 0, /"predecessor\(\)" must be a PID or undefined, not 0/],
};

for (const [name, [predecessor, message]] of Object.entries(answers)) {
  test(`${name} of predecessor() does not count as "none": nothing is started, and the state is "unknown"`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t, { predecessor, checkTimeoutMs: 100 }));
    for (const method of ['start', 'become'] as const) {
      await assert.rejects(manager[method](), (error) => {
        assert.ok(error instanceof SpawnError && error.cause instanceof Error, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    assert.deepEqual(journalEntries(manager.spec, 'spawn'), []);
    const { state, pid } = await manager.status();
    assert.deepEqual([state, pid], ['unknown', undefined]);
    assert.equal((await manager.stop()).outcome, 'not-running');
  });
}

test('an abort of start() ends the wait for predecessor()', async (t) => {
  const abort = new AbortController();
  const reason = new Error('enough');
  const predecessor = () => {
    setImmediate(() => abort.abort(reason));
    return new Promise<undefined>(() => undefined);
  };
  const manager = new ProcessManager(sleepSpec(t, { predecessor, checkTimeoutMs: 60_000 }));
  await assert.rejects(manager.start({ signal: abort.signal }), reason);
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a predecessor that is no function throws a TypeError', (t) => {
  const spec = { ...sleepSpec(t), predecessor: 4242 } as unknown as ProcessSpec;
  assert.throws(() => new ProcessManager(spec), {
    name: 'TypeError',
    message: '"predecessor" must be a function, not 4242',
  });
});

test('a stop() ends a start that waits for predecessor()', async (t) => {
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const predecessor = async () => {
    asked();
    return await new Promise<undefined>(() => undefined);
  };
  const manager = new ProcessManager(sleepSpec(t, { predecessor, checkTimeoutMs: Infinity, stopTimeoutMs: 100 }));
  const started = outcomeOf(manager.start());
  await isAsked;
  await new ProcessManager(manager.spec).stop();
  assert.equal(((await started) as Error).name, 'StoppedError');
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a predecessor() that reads the PID from our own lock file does not find its caller', async (t) => {
  const spec = sleepSpec(t);
  const { lockFile } = new ProcessManager(spec).spec;
  const predecessor = () => Number(readFileSync(lockFile, 'utf8')) || undefined;
  const { reused } = await new ProcessManager({ ...spec, predecessor }).start();
  assert.equal(reused, false);
});
