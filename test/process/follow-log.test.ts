import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, ProcessManager } from '../../src/index.js';
import { Follower, openLogs, talkerSpec } from '../helpers/followed.js';
import { logged } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** A manager whose log file has this text, or does not exist. */
function withLog(t: TestContext, text?: string): ProcessManager {
  const logFile = join(temporaryFolder(t), 'x.log');
  if (text !== undefined) writeFileSync(logFile, text);
  return new ProcessManager({ name: 'x', command: 'sleep', stateDir: dirname(logFile), logFile });
}

async function hears(follower: Follower, lines: readonly string[]): Promise<void> {
  await eventually(`the follower has ${lines.length} lines`, () => follower.lines.length >= lines.length);
  assert.deepEqual(follower.lines, lines);
}

/** The lines of a file whose last line has a line end. */
function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').replace(/\n$/, '').split('\n');
}

async function hasSpoken({ spec: { logFile } }: ProcessManager, { pid }: Instance): Promise<void> {
  await logged(logFile, new RegExp(`^${pid} .*\n`, 'm'));
}

/** How many of thirty lines a follower gets by default, and when it asks for none, for one and for a thousand. */
const COUNTS = [10, 0, 1, 30];

test('followLog() gives the last ten lines, or as many as asked for, and then each new one', async (t) => {
  const old = Array.from({ length: 30 }, (_, index) => `old ${index}`);
  const manager = withLog(t, `${old.join('\n')}\n`);
  const followers = [undefined, 0, 1, 1_000].map(
    (lines) => new Follower(t, manager, lines === undefined ? {} : { lines }),
  );
  await eventually('each follower has the old lines that it asked for', () =>
    followers.every(({ lines }, index) => lines.length >= (COUNTS[index] ?? 0)),
  );
  appendFileSync(manager.spec.logFile, 'new 1\n\nnew 2\n');
  for (const [index, count] of COUNTS.entries())
    await hears(followers[index] as Follower, [...old.slice(30 - count), 'new 1', '', 'new 2']);
});

test('a line that is written in two parts comes as one line, even when it is cut within a character', async (t) => {
  const manager = withLog(t, 'one\n');
  const follower = new Follower(t, manager);
  await hears(follower, ['one']);
  const bytes = Buffer.from('größe €\nnext\n');
  for (const at of [3, 9, 10]) {
    appendFileSync(manager.spec.logFile, bytes.subarray(0, at));
    // The first part is read before the rest is written.
    await delay(STILL_MS);
    appendFileSync(manager.spec.logFile, bytes.subarray(at));
  }
  await hears(follower, ['one', ...['größe €', 'next'], ...['größe €', 'next'], ...['größe €', 'next']]);
});

test('a last line without a line end counts as one of the last, and comes when nobody can end it any more', async (t) => {
  const manager = withLog(t, 'one\ntwo\nthree');
  const [two, one, none] = [2, 1, 0].map((lines) => new Follower(t, manager, { lines })) as [
    Follower,
    Follower,
    Follower,
  ];
  await hears(two, ['two', 'three']);
  await hears(one, ['three']);
  assert.deepEqual(none.lines, []);
});

test('the unfinished last line of a server comes after the server has ended, and not while it lives', async (t) => {
  const script = `
    process.stdout.write('one\\ntwo');
    process.on('SIGTERM', () => process.stdout.write('three', () => process.exit()));
    setInterval(() => undefined, 1 << 30);`;
  const manager = new ProcessManager(sleepSpec(t, { command: process.execPath, args: ['-e', script] }));
  await manager.start();
  const follower = new Follower(t, manager);
  await hears(follower, ['one']);
  // This is longer than followLog() waits for the end of an unfinished line.
  await delay(1_000 + STILL_MS);
  assert.deepEqual(follower.lines, ['one']);
  await manager.stop();
  await hears(follower, ['one', 'twothree']);
});

test('a log that does not exist yet is followed from its first line, even when its folder does not exist either', async (t) => {
  const manager = new ProcessManager(talkerSpec(t));
  const follower = new Follower(t, manager, { lines: 0 });
  await delay(STILL_MS);
  await hasSpoken(manager, await manager.start());
  await manager.stop();
  await hears(follower, linesOf(manager.spec.logFile));
});

for (const [what, mostMs] of Object.entries({ 'at once': 0, slowly: 8 })) {
  test(`a reader that reads ${what} gets each line of ten runs, once and in order, through a rotation at each start`, async (t) => {
    const manager = new ProcessManager(talkerSpec(t, [2, 'unended'], { logRotation: { overBytes: 0, keep: 20 } }));
    const { logFile } = manager.spec;
    const follower = new Follower(t, manager, { pauseMs: () => Math.random() * mostMs });
    let { pid } = await manager.start();
    for (let run = 1; run < 10; run += 1) {
      await eventually('the log has a whole line', () => readFileSync(logFile, 'utf8').includes('\n'));
      if (run % 3 === 0) process.kill(pid, 'SIGKILL');
      pid = (await manager.restart()).pid;
    }
    await manager.stop();
    const files = [...Array.from({ length: 9 }, (_, index) => `${logFile}.${9 - index}`), logFile];
    await hears(
      follower,
      files.flatMap(linesOf).filter((line) => line !== ''),
    );
    assert.equal(openLogs(logFile).length, 1);
  });
}

test('a follower reads on in the same file through restarts without a rotation', async (t) => {
  const manager = new ProcessManager(talkerSpec(t));
  const follower = new Follower(t, manager);
  await hasSpoken(manager, await manager.start());
  for (let run = 1; run < 4; run += 1) await hasSpoken(manager, await manager.restart());
  await manager.stop();
  await hears(follower, linesOf(manager.spec.logFile));
});

test('a truncated log is read again from its start, and the unfinished line from before comes as a line', async (t) => {
  const manager = withLog(t, 'one\ntwo');
  const follower = new Follower(t, manager);
  await hears(follower, ['one']);
  truncateSync(manager.spec.logFile);
  await hears(follower, ['one', 'two']);
  appendFileSync(manager.spec.logFile, 'three\n');
  await hears(follower, ['one', 'two', 'three']);
});

test('a deleted log is followed while its server writes to it, and after the next start the new log is followed', async (t) => {
  const manager = new ProcessManager(talkerSpec(t));
  const { logFile } = manager.spec;
  const follower = new Follower(t, manager);
  const { pid } = await manager.start();
  await eventually('the follower has a line', () => follower.lines.length > 0);
  rmSync(logFile);
  const seen = follower.lines.length;
  await eventually('the follower has more lines of the deleted log', () => follower.lines.length > seen + 50);
  const next = await manager.restart();
  await hasSpoken(manager, next);
  await manager.stop();
  await eventually('the follower has the last line', () => follower.lines.at(-1) === linesOf(logFile).at(-1));
  const numbers = (of: number) =>
    follower.lines.flatMap((line) => (line.startsWith(`${of} `) ? Number(line.split(' ')[1]) : []));
  for (const of of [pid, next.pid])
    assert.deepEqual(
      numbers(of),
      Array.from(numbers(of), (_, index) => index),
    );
  assert.equal(numbers(pid).length + numbers(next.pid).length, follower.lines.length);
  assert.ok(numbers(next.pid).length > 0);
});

test('an older log beside a deleted one is not read again', async (t) => {
  const manager = withLog(t);
  const { logFile } = manager.spec;
  writeFileSync(`${logFile}.1`, 'older\n');
  await delay(20);
  writeFileSync(logFile, 'one\n');
  const follower = new Follower(t, manager);
  await hears(follower, ['one']);
  rmSync(logFile);
  await delay(20);
  writeFileSync(logFile, 'two\n');
  await hears(follower, ['one', 'two']);
});

test('a reader that is slow through several rotations finds every file that is still there', async (t) => {
  const manager = new ProcessManager({ ...withLog(t, 'a\n').spec, logRotation: { keep: 2 } });
  const { logFile } = manager.spec;
  const iterator = manager.followLog()[Symbol.asyncIterator]();
  assert.deepEqual(await iterator.next(), { value: 'a', done: false });
  for (const text of ['b\n', 'c\n', 'd\n', 'e\n']) {
    // Files are dated by the kernel's clock, which ticks 100 times a second or more.
    await delay(20);
    if (text !== 'b\n') renameSync(`${logFile}.1`, `${logFile}.2`);
    renameSync(logFile, `${logFile}.1`);
    writeFileSync(logFile, text);
  }
  for (const value of ['c', 'd', 'e']) assert.deepEqual(await iterator.next(), { value, done: false });
  await iterator.return?.();
  assert.deepEqual(openLogs(logFile), []);
});

/** Reads the first line of a log, and then appends 100 MB to it. */
async function grown(t: TestContext, options: { signal?: AbortSignal } = {}) {
  const manager = withLog(t, 'first\n');
  const iterator = manager.followLog(options)[Symbol.asyncIterator]();
  await iterator.next();
  const line = 'x'.repeat(999);
  const million = `${line}\n`.repeat(1_000);
  for (let part = 0; part < 100; part += 1) appendFileSync(manager.spec.logFile, million);
  return { iterator, line };
}

test('reading line after line does not block the event loop: a timer still fires, and its abort ends the loop', async (t) => {
  const controller = new AbortController();
  const { iterator } = await grown(t, { signal: controller.signal });
  let lines = 0;
  setTimeout(() => controller.abort(), 20);
  while ((await iterator.next()).done !== true) lines += 1;
  assert.ok(lines < 100_000, String(lines));
});

test('nothing is read ahead of a slow reader: a log can grow far beyond the available memory', async (t) => {
  const { iterator, line } = await grown(t);
  const before = process.memoryUsage().rss;
  for (let number = 0; number < 100_000; number += 1) assert.equal((await iterator.next()).value, line);
  const more = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(more < 60, `${more} MiB`);
  await iterator.return?.();
});

test('a line that never ends comes in pieces of a million characters', async (t) => {
  const manager = withLog(t, '');
  const follower = new Follower(t, manager);
  appendFileSync(manager.spec.logFile, `${'x'.repeat(5_000_000)}\nlast\n`);
  await eventually('the follower has the last line', () => follower.lines.at(-1) === 'last');
  const pieces = follower.lines.slice(0, -1);
  assert.equal(pieces.join('').length, 5_000_000);
  assert.ok(
    pieces.length === 5 && pieces.every(({ length }) => length < 1_200_000),
    String(pieces.map((it) => it.length)),
  );
});

const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('leaving the loop leaves no descriptor, no timer and no listener behind', async (t) => {
  const manager = withLog(t, 'one\ntwo\n');
  const { signal } = new AbortController();
  const before = timers();
  for (let round = 0; round < 3; round += 1) {
    for await (const line of manager.followLog({ signal })) if (line === 'two') break;
    await assert.rejects(async () => {
      for await (const _ of manager.followLog({ signal })) throw new Error('enough');
    }, /enough/);
  }
  assert.deepEqual([openLogs(manager.spec.logFile), getEventListeners(signal, 'abort')], [[], []]);
  assert.ok(timers() <= before);
});

test('a loop that is left while it waits for a line closes the log at once, and an abort ends a loop that waits', async (t) => {
  const manager = withLog(t, 'one\n');
  const { logFile } = manager.spec;
  const controller = new AbortController();
  const before = timers();
  const iterators = [undefined, controller.signal].map((signal) =>
    manager.followLog({ ...(signal && { signal }) })[Symbol.asyncIterator](),
  );
  for (const iterator of iterators) assert.equal((await iterator.next()).value, 'one');
  const waiting = iterators.map((iterator) => iterator.next());
  await delay(STILL_MS);
  assert.equal(openLogs(logFile).length, 2);
  await iterators[0]?.return?.();
  controller.abort();
  for (const next of waiting) assert.deepEqual(await next, { value: undefined, done: true });
  assert.deepEqual([openLogs(logFile), getEventListeners(controller.signal, 'abort')], [[], []]);
  assert.ok(timers() <= before);
});

test('an abort closes the log of a reader that never asks for another line, and no further line comes', async (t) => {
  const manager = withLog(t, 'one\ntwo\n');
  const controller = new AbortController();
  const iterator = manager.followLog({ signal: controller.signal })[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value, 'one');
  controller.abort();
  assert.deepEqual(openLogs(manager.spec.logFile), []);
  assert.deepEqual(await iterator.next(), { value: undefined, done: true });
  for await (const _ of manager.followLog({ signal: controller.signal })) assert.fail('it was aborted before');
});

test('each loop over the same result of followLog() begins anew', async (t) => {
  const lines = withLog(t, 'one\n').followLog();
  for (let round = 0; round < 2; round += 1) {
    for await (const line of lines) {
      assert.equal(line, 'one');
      break;
    }
  }
});

test('a program that has left the loop ends by itself', async (t) => {
  const manager = withLog(t, 'one\n');
  const { stdout, exitCode } = await startFixture(t, 'calls', [JSON.stringify(manager.spec), 'first-line'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  }).ended();
  assert.deepEqual([stdout, exitCode], ['one\n', 0]);
});

test('a log that is no regular file has no lines, and a log that cannot be read is an error', async (t) => {
  const manager = withLog(t);
  mkdirSync(manager.spec.logFile);
  const follower = new Follower(t, manager);
  await delay(STILL_MS);
  rmSync(manager.spec.logFile, { recursive: true });
  writeFileSync(manager.spec.logFile, 'one\n');
  await hears(follower, ['one']);
  const loop = withLog(t);
  symlinkSync(loop.spec.logFile, loop.spec.logFile);
  await assert.rejects(loop.followLog()[Symbol.asyncIterator]().next(), { code: 'ELOOP' });
});

test('wrong options throw a TypeError in the turn of the call', (t) => {
  const manager = withLog(t);
  for (const lines of [-1, 1.5, Number.NaN, '3' as unknown as number])
    assert.throws(() => manager.followLog({ lines }), /^TypeError: "lines" must be a whole number, 0 or more, not /);
  assert.throws(() => manager.followLog({ signal: {} as AbortSignal }), /^TypeError: "signal" must be an AbortSignal/);
});
