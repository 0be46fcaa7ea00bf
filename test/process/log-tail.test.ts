import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EarlyExitError, ProcessManager } from '../../src/index.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

/** A manager whose log is this. */
function withLog(t: TestContext, text: string | Buffer | undefined): ProcessManager {
  const logFile = join(temporaryFolder(t), 'x.log');
  if (text !== undefined) writeFileSync(logFile, text);
  return new ProcessManager({ name: 'x', command: 'sleep', stateDir: '/nowhere', logFile });
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

test('twenty lines unless told otherwise, oldest first', async (t) => {
  const manager = withLog(t, `${numbers(1, 100).join('\n')}\n`);
  assert.deepEqual(await manager.logTail(), numbers(81, 100));
});

test('as many lines as asked for, and all when there are fewer', async (t) => {
  const manager = withLog(t, 'one\ntwo\nthree\n');
  assert.deepEqual(await manager.logTail(0), []);
  assert.deepEqual(await manager.logTail(1), ['three']);
  assert.deepEqual(await manager.logTail(3), ['one', 'two', 'three']);
  assert.deepEqual(await manager.logTail(4), ['one', 'two', 'three']);
  assert.deepEqual(await manager.logTail(1e9), ['one', 'two', 'three']);
});

test('no log, an empty one, a folder, a broken link: no lines', async (t) => {
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

test('a last line without an end is a line', async (t) => {
  const manager = withLog(t, 'one\ntwo');
  assert.deepEqual(await manager.logTail(1), ['two']);
  assert.deepEqual(await manager.logTail(2), ['one', 'two']);
});

test('empty lines are lines, wherever they stand', async (t) => {
  const manager = withLog(t, '\none\n\ntwo\n\n');
  assert.deepEqual(await manager.logTail(1), ['']);
  assert.deepEqual(await manager.logTail(2), ['two', '']);
  assert.deepEqual(await manager.logTail(3), ['', 'two', '']);
  assert.deepEqual(await manager.logTail(), ['', 'one', '', 'two', '']);
  assert.deepEqual(await withLog(t, '\n').logTail(), ['']);
});

test('a huge line is given whole, with and without an end', async (t) => {
  const huge = 'x'.repeat(3_000_000);
  for (const end of ['', '\n']) {
    const lines = await withLog(t, `first\n${huge}${end}`).logTail(2);
    assert.deepEqual(
      lines.map((line) => line.length),
      [5, huge.length],
    );
  }
});

test('of a line of more than 16 MB its end is given, beginning with a whole character', async (t) => {
  // Three bytes each: one of three cuts is between two of them.
  for (const end of ['', 'a', 'ab']) {
    const [line = '', ...rest] = await withLog(t, `${'€'.repeat(6_000_000)}${end}`).logTail(1);
    assert.deepEqual(rest, []);
    assert.ok(line.length > 5_000_000 && line.length < 6_000_000, String(line.length));
    assert.equal(line.at(0), '€');
    assert.ok(line.endsWith(`€${end}`));
  }
});

test('thousands of lines are as right as one', async (t) => {
  const lines = Array.from({ length: 50_000 }, (_, index) => `line ${index} `.repeat(3));
  const manager = withLog(t, `${lines.join('\n')}\n`);
  for (const count of [1, 1_000, 30_000, 50_000, 60_000]) {
    assert.deepEqual(await manager.logTail(count), lines.slice(-count), String(count));
  }
});

test('UTF-8 comes out as it went in, and other bytes break nothing', async (t) => {
  const line = 'größer — 大きい 🎉';
  const lines = Array.from({ length: 10_000 }, (_, index) => `${index} ${line}`);
  assert.deepEqual(await withLog(t, lines.join('\n')).logTail(5_000), lines.slice(-5_000));
  const manager = withLog(t, Buffer.from([0x61, 0xff, 0xfe, 0x0a, 0x80, 0x62, 0x0a]));
  assert.deepEqual((await manager.logTail()).length, 2);
});

test('anything but a whole number of lines is a TypeError', async (t) => {
  for (const lines of [-1, 1.5, Number.NaN, '3' as unknown as number, null as unknown as number]) {
    await assert.rejects(withLog(t, 'x').logTail(lines), /^TypeError: "lines" must be a whole number, 0 or more, not /);
  }
});

test('an error does not repeat a huge last line in its message', async (t) => {
  const script = `${JSON.stringify(process.execPath)} -p '"x".repeat(1e6)'; exit 3`;
  const manager = new ProcessManager(await redisSpec(t, { command: '/bin/sh', args: ['-c', script] }));
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof EarlyExitError, String(error));
    assert.deepEqual([error.exitCode, error.logTail[0]?.length], [3, 1e6]);
    assert.ok(error.message.length < 1_000, String(error.message.length));
    return true;
  });
});
