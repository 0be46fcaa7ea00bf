import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EarlyExitError, ProcessManager } from '../../src/index.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

/** A manager whose log file has this text, or does not exist. */
function withLog(t: TestContext, text: string | Buffer | undefined): ProcessManager {
  const logFile = join(temporaryFolder(t), 'x.log');
  if (text !== undefined) writeFileSync(logFile, text);
  return new ProcessManager({ name: 'x', command: 'sleep', stateDir: '/nowhere', logFile });
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

test('logTail() gives twenty lines by default, oldest first', async (t) => {
  const manager = withLog(t, `${numbers(1, 100).join('\n')}\n`);
  assert.deepEqual(await manager.logTail(), numbers(81, 100));
});

test('logTail() gives as many lines as asked for, and all when there are fewer', async (t) => {
  const manager = withLog(t, 'one\ntwo\nthree\n');
  assert.deepEqual(await manager.logTail(0), []);
  assert.deepEqual(await manager.logTail(1), ['three']);
  assert.deepEqual(await manager.logTail(3), ['one', 'two', 'three']);
  assert.deepEqual(await manager.logTail(4), ['one', 'two', 'three']);
  assert.deepEqual(await manager.logTail(1e9), ['one', 'two', 'three']);
});

test('logTail() gives no lines of a missing log, an empty one, a folder or a broken link', async (t) => {
  assert.deepEqual(await withLog(t, undefined).logTail(), []);
  assert.deepEqual(await withLog(t, '').logTail(), []);
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'folder'));
  symlinkSync('nowhere', join(folder, 'link'));
  for (const name of ['folder', 'link']) {
    const options = { name: 'x', command: 'sleep', stateDir: folder, logFile: join(folder, name) };
    assert.deepEqual(await new ProcessManager(options).logTail(), []);
  }
});

test('logTail() gives a last line without a line end', async (t) => {
  const manager = withLog(t, 'one\ntwo');
  assert.deepEqual(await manager.logTail(1), ['two']);
  assert.deepEqual(await manager.logTail(2), ['one', 'two']);
});

test('logTail() gives empty lines, wherever they stand', async (t) => {
  const manager = withLog(t, '\none\n\ntwo\n\n');
  assert.deepEqual(await manager.logTail(1), ['']);
  assert.deepEqual(await manager.logTail(2), ['two', '']);
  assert.deepEqual(await manager.logTail(3), ['', 'two', '']);
  assert.deepEqual(await manager.logTail(), ['', 'one', '', 'two', '']);
  assert.deepEqual(await withLog(t, '\n').logTail(), ['']);
});

/** This much of the log is read. */
const TAIL_BYTES = 64 * 1024;

test('a line that just fits into 64 KiB is given whole, with and without a line end', async (t) => {
  for (const end of ['', '\n']) {
    const line = 'x'.repeat(TAIL_BYTES - end.length);
    assert.deepEqual(await withLog(t, `${line}${end}`).logTail(), [line]);
    assert.deepEqual(await withLog(t, `first\n${line}${end}`).logTail(), [line]);
    assert.deepEqual(await withLog(t, `first\n${line.slice(6)}${end}`).logTail(), ['first', line.slice(6)]);
  }
});

test('the end of a longer line is given, starting with a whole character', async (t) => {
  // Each character has three bytes, so one of three cuts falls between two characters.
  for (const end of ['', 'a', 'ab', '\n']) {
    const [line = '', ...rest] = await withLog(t, `first\n${'€'.repeat(40_000)}${end}`).logTail(2);
    assert.deepEqual(rest, []);
    const bytes = Buffer.byteLength(line);
    assert.ok(bytes > TAIL_BYTES - 4 && bytes <= TAIL_BYTES, String(bytes));
    assert.match(line, /^€+a?b?$/);
  }
});

test('logTail() gives those of many lines that are whole within the last 64 KiB', async (t) => {
  const lines = Array.from({ length: 50_000 }, (_, index) => `größer — 大きい 🎉 ${index}`);
  for (const end of ['', '\n']) {
    const manager = withLog(t, `${lines.join('\n')}${end}`);
    for (const count of [1, 1_000]) assert.deepEqual(await manager.logTail(count), lines.slice(-count), String(count));
    const all = await manager.logTail(50_000);
    assert.deepEqual(all, lines.slice(-all.length));
    const bytes = Buffer.byteLength(`${all.join('\n')}${end}`);
    assert.ok(bytes > TAIL_BYTES - 100 && bytes <= TAIL_BYTES, String(bytes));
  }
});

test('logTail() gives lines with bytes that are no UTF-8', async (t) => {
  const manager = withLog(t, Buffer.from([0x61, 0xff, 0xfe, 0x0a, 0x80, 0x62, 0x0a]));
  assert.deepEqual((await manager.logTail()).length, 2);
});

test('logTail() with anything but a whole number of lines throws a TypeError', async (t) => {
  for (const lines of [-1, 1.5, Number.NaN, '3' as unknown as number, null as unknown as number]) {
    await assert.rejects(withLog(t, 'x').logTail(lines), /^TypeError: "lines" must be a whole number, 0 or more, not /);
  }
});

test('the message of an error does not repeat a huge last line of the log', async (t) => {
  const script = `${JSON.stringify(process.execPath)} -p '"x".repeat(1e6)'; exit 3`;
  const manager = new ProcessManager(await redisSpec(t, { command: '/bin/sh', args: ['-c', script] }));
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof EarlyExitError, String(error));
    assert.deepEqual([error.exitCode, error.logTail[0]?.length], [3, TAIL_BYTES - 1]);
    assert.ok(error.message.length < 1_000, String(error.message.length));
    return true;
  });
});
