/** An error says why a health check failed: what isHealthy threw is its cause, and part of its message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessManager, type ProcessSpec, StartTimeoutError, UnhealthyError } from '../../src/index.js';
import { reachesState } from '../helpers/outside-view.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';

const START_TIMEOUT_MS = 1_000;

const reason = new RangeError('the schema is at version 3, not 4');

/** What isHealthy does, and what the error must say about it. */
const answers: Record<string, { isHealthy: NonNullable<ProcessSpec['isHealthy']>; message: RegExp; cause?: unknown }> =
  {
    'throws an error': {
      isHealthy: () => {
        throw reason;
      },
      message: /is not healthy: the schema is at version 3, not 4/,
      cause: reason,
    },
    'rejects with an error that has a cause': {
      isHealthy: async () => {
        throw new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 127.0.0.1:9') });
      },
      message: /is not healthy: fetch failed: connect ECONNREFUSED 127\.0\.0\.1:9/,
    },
    'throws what is no error': {
      isHealthy: () => {
        throw 'nothing works';
      },
      message: /is not healthy: nothing works/,
      cause: 'nothing works',
    },
    'gives no answer in time': {
      isHealthy: () => new Promise(() => undefined),
      message: /is not healthy: no answer within \d+ ms/,
    },
    'says something else than true or false': {
      isHealthy: (() => 'ok') as unknown as () => boolean,
      message: /is not healthy: isHealthy gave 'ok', and only true counts/,
    },
    'says false': { isHealthy: () => false, message: /is not healthy: isHealthy gave false/ },
  };

for (const [what, { isHealthy, message, cause }] of Object.entries(answers)) {
  const assertReason = (error: Error) => {
    assert.match(error.message, message);
    if (cause !== undefined) assert.equal(error.cause, cause);
    return true;
  };

  test(`the StartTimeoutError says that isHealthy ${what}`, async (t) => {
    const spec = await redisSpec(t, { startTimeoutMs: START_TIMEOUT_MS, checkTimeoutMs: 300, isHealthy });
    await assert.rejects(new ProcessManager(spec).start(), (error) => {
      assert.ok(error instanceof StartTimeoutError, String(error));
      return assertReason(error);
    });
  });

  test(`the UnhealthyError of a running server says that isHealthy ${what}`, async (t) => {
    const spec = await redisSpec(t);
    await new ProcessManager(spec).start();
    const limits = { startTimeoutMs: START_TIMEOUT_MS, checkTimeoutMs: 300 };
    const other = new ProcessManager({ ...spec, ...limits, isHealthy });
    await assert.rejects(other.start(), (error) => {
      assert.ok(error instanceof UnhealthyError, String(error));
      return assertReason(error);
    });
  });
}

test('the error names what a check threw although later checks gave no answer', async (t) => {
  let looks = 0;
  const isHealthy = () => {
    looks += 1;
    if (looks === 1) throw reason;
    return new Promise<boolean>(() => undefined);
  };
  const spec = await redisSpec(t, { startTimeoutMs: START_TIMEOUT_MS, checkTimeoutMs: 60_000, isHealthy });
  await assert.rejects(new ProcessManager(spec).start(), {
    name: 'StartTimeoutError',
    message: /the schema is at version 3/,
  });
});

test('the error names a port that does not accept connections, and does not speak of health', async (t) => {
  const spec = await nodeSpec(
    t,
    { 'listen-after': 600_000 },
    { startTimeoutMs: START_TIMEOUT_MS, isHealthy: () => true },
  );
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    assert.match((error as Error).message, /it does not accept connections on 127\.0\.0\.1:\d+/);
    assert.doesNotMatch((error as Error).message, /healthy/);
    return true;
  });
});

test('a process without checks that has not lived long enough is not called unhealthy', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 0 });
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    assert.ok(error instanceof StartTimeoutError, String(error));
    assert.doesNotMatch(error.message, /healthy/);
    assert.match(error.message, /it had not been alive for 100 ms/);
    return true;
  });
});

test('the error calls a suspended process suspended', async (t) => {
  const args = ['-c', 'kill -STOP $$; exec sleep 300'];
  const options = { startTimeoutMs: START_TIMEOUT_MS, isHealthy: () => false };
  await assert.rejects(new ProcessManager(sleepSpec(t, { command: '/bin/sh', args, ...options })).start(), {
    name: 'StartTimeoutError',
    message: /it is suspended \(SIGSTOP, Ctrl-Z\)/,
  });
  const running = sleepSpec(t, { startTimeoutMs: START_TIMEOUT_MS });
  const { pid } = await new ProcessManager(running).start();
  process.kill(pid, 'SIGSTOP');
  await reachesState(pid, 'T');
  await assert.rejects(new ProcessManager(running).start(), {
    name: 'UnhealthyError',
    message: new RegExp(`PID ${pid} is suspended \\(SIGSTOP, Ctrl-Z\\)`),
  });
});
