import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Alarm, abortAfter, Deadline, Pace, sleep } from '../../src/support/deadline.js';
import { projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';

const DEADLINE_MODULE = join(projectRoot, 'build/src/support/deadline.js');

test('a deadline of 0 is over at once, and one of Infinity never', () => {
  assert.equal(Deadline.after(0).isOver, true);
  assert.equal(Deadline.after(0).remainingMs, 0);
  assert.equal(Deadline.after(Number.POSITIVE_INFINITY).isOver, false);
  assert.equal(Deadline.after(Number.POSITIVE_INFINITY).remainingMs, Number.POSITIVE_INFINITY);
});

test('the remaining time shrinks to 0 and not below, and then the deadline is over', async () => {
  const long = Deadline.after(60_000);
  const short = Deadline.after(40);
  assert.equal(long.isOver, false);
  const first = long.remainingMs;
  assert.ok(first > 0 && first <= 60_000, `${first}`);
  await delay(45);
  assert.ok(long.remainingMs < first);
  assert.equal(long.isOver, false);
  assert.equal(short.remainingMs, 0);
  assert.equal(short.isOver, true);
});

test('a process that was not scheduled until long after a deadline gets time for one more check, and only one', async () => {
  const block = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const [short, long] = [Deadline.after(30), Deadline.after(0)];
  block(400);
  assert.equal(short.isOver, false);
  assert.ok(short.remainingMs > 0 && short.remainingMs <= 30);
  assert.equal(long.isOver, true, 'of no time at all nothing is left');
  block(400);
  assert.equal(short.isOver, true);
  const { signal, clear } = abortAfter(30);
  block(400);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  assert.equal(signal.aborted, false);
  await once(signal, 'abort');
  clear();
});

test('an extended deadline also leaves time for one more check after a long pause of the process', () => {
  const extended = Deadline.after(1_000).extendedBy(1);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_300);
  assert.ok(extended.remainingMs > 500, `${extended.remainingMs}`);
});

test('a cleared timeout does not keep the process alive, even if its time was over in that turn', async (t) => {
  const script = `import { abortAfter } from ${JSON.stringify(DEADLINE_MODULE)};
    const { clear } = abortAfter(1);
    setTimeout(clear, 1);
    abortAfter(600_000).clear();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);`;
  await startProgram(t, process.execPath, ['--input-type=module', '-e', script]).ended();
});

test('setting the wall clock changes no deadline', (t) => {
  const deadline = Deadline.after(60_000);
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 });
  assert.equal(deadline.isOver, false);
  t.mock.timers.setTime(0);
  assert.ok(deadline.remainingMs <= 60_000);
});

test('sleep takes the time that it was given', async () => {
  const begun = performance.now();
  await sleep(30);
  assert.ok(performance.now() - begun >= 29);
});

test('events of sockets and children arrive, however long the work between two sleeps takes', async () => {
  const limit = Deadline.after(5_000);
  let answered = 0;
  const look = async () => {
    const pace = new Pace({ maxMs: 5 });
    while (answered < 2 && !limit.isOver) {
      busyFor(10);
      await pace.wait();
    }
    return limit.isOver;
  };
  const lookers = [look(), look()];
  const count = () => {
    answered += 1;
  };
  const answers = [connectAndClose().then(count), once(spawn(process.execPath, ['--version']), 'exit').then(count)];
  assert.deepEqual(await Promise.all(lookers), [false, false]);
  await Promise.all(answers);
});

test('sleep ends with the reason of a signal that is aborted before or during it, and keeps no listener on the signal', async () => {
  const reason = { any: 'value' };
  await assert.rejects(sleep(60_000, AbortSignal.abort(reason)), (error) => error === reason);
  const controller = new AbortController();
  const sleeping = sleep(60_000, controller.signal);
  controller.abort(reason);
  await assert.rejects(sleeping, (error) => error === reason);
  const calm = new AbortController();
  let warnings = 0;
  const count = () => {
    warnings += 1;
  };
  process.on('warning', count);
  for (let i = 0; i < 20; i += 1) await sleep(0, calm.signal);
  await delay(1);
  process.off('warning', count);
  assert.equal(warnings, 0, 'listeners stayed on the signal');
});

function busyFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

async function connectAndClose(): Promise<void> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  await once(server.close(), 'close');
}

/** The delays of a pace, as they are passed to the timer. */
async function stepsOf(pace: Pace, count: number): Promise<number[]> {
  const steps: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const begun = performance.now();
    await pace.wait();
    steps.push(performance.now() - begun);
  }
  return steps;
}

test('a pace begins with short steps, and grows to its longest', async () => {
  const steps = await stepsOf(new Pace({ firstMs: 4, maxMs: 60 }), 6);
  // The delays are 2 to 4, 4 to 8, 8 to 16, 16 to 32, 30 to 60, 30 to 60; a timer is never early by more than 1 ms.
  for (const [index, least] of [2, 4, 8, 16, 30, 30].entries()) {
    assert.ok((steps[index] ?? 0) >= least - 1, `step ${index}: ${steps}`);
  }
});

test('two paces have different delays', async () => {
  const steps = await Promise.all(Array.from({ length: 8 }, () => stepsOf(new Pace({ firstMs: 800, maxMs: 800 }), 1)));
  const firstMs = steps.flat();
  assert.ok(Math.max(...firstMs) - Math.min(...firstMs) > 20, String(firstMs));
});

test('a pace never waits beyond the deadline', async () => {
  const pace = new Pace({ firstMs: 60_000, maxMs: 60_000 });
  await pace.wait({ deadline: Deadline.after(10) });
  await pace.wait({ deadline: Deadline.after(0) });
});

test('a bell cuts one step of a pace short, also when it rang before, and each ring counts once', async () => {
  const bell = new Alarm();
  const pace = new Pace({ firstMs: 60_000, maxMs: 60_000, bell });
  const waiting = pace.wait();
  bell.ring();
  await waiting;
  bell.ring();
  await pace.wait();
  const short = new Pace({ firstMs: 40, maxMs: 40, bell });
  const began = performance.now();
  await short.wait();
  assert.ok(performance.now() - began >= 19, 'no ring was left');
});

test('a pace with a bell ends with the reason of a signal, aborted before or during the step, and keeps no listener', async () => {
  const pace = new Pace({ firstMs: 60_000, maxMs: 60_000, bell: new Alarm() });
  const reason = new Error('enough');
  await assert.rejects(pace.wait({ signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const waiting = pace.wait({ signal: controller.signal });
  assert.equal(getEventListeners(controller.signal, 'abort').length, 1);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
});

test('a pace ends with the reason of a signal', async () => {
  const controller = new AbortController();
  const waiting = new Pace({ firstMs: 60_000, maxMs: 60_000 }).wait({ signal: controller.signal });
  controller.abort('enough');
  await assert.rejects(waiting, (error) => error === 'enough');
});
