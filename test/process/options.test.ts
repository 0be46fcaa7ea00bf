import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { temporaryFolder } from '../helpers/resources.js';

const GOOD: ProcessSpec = { name: 'x', command: 'sleep', stateDir: '/nowhere/state' };

const TEXT = /a non-empty string without NUL/;
const PATH = /a non-empty path without NUL/;
const NAME = /1 to 100 letters, digits/;
const MILLISECONDS = /a number of milliseconds, 0 or more/;
const PORT = /a whole number from 1 to 65535/;
const READY_LINE = /a RegExp, or a non-empty string without line ends/;
const STRING = /a string without NUL/;

/** Option, value, the expectation in the message, and the value as the message shows it. */
const WRONG: readonly (readonly [option: string, value: unknown, expectation: RegExp, shown: string])[] = [
  ['name', undefined, NAME, 'undefined'],
  ['name', '', NAME, '""'],
  ['name', 'a/b', NAME, '"a/b"'],
  ['name', '..', NAME, '".."'],
  ['name', '-x', NAME, '"-x"'],
  ['name', 'two words', NAME, '"two words"'],
  ['name', 'ends\n', NAME, '"ends\\n"'],
  ['name', 'x'.repeat(101), NAME, `"${'x'.repeat(101)}"`],
  ['name', 7, NAME, '7'],
  ['name', [], NAME, '[]'],
  ['name', Object.create(null), NAME, '[Object: null prototype] {}'],
  ['name', Symbol('s'), NAME, 'Symbol(s)'],
  ['command', '', TEXT, '""'],
  ['command', 'a\0b', TEXT, '"a\\u0000b"'],
  ['command', undefined, TEXT, 'undefined'],
  ['stateDir', undefined, PATH, 'undefined'],
  ['stateDir', '', PATH, '""'],
  ['stateDir', 'a\0b', PATH, '"a\\u0000b"'],
  ['stateDir', '~somebody/x', /begins with "~\/" or has no "~" in front/, '"~somebody/x"'],
  ['lockFile', 5, PATH, '5'],
  ['pidFile', '', PATH, '""'],
  ['logFile', '', PATH, '""'],
  ['cwd', '', PATH, '""'],
  ['args', 'one two', /an array of strings/, '"one two"'],
  ['args[1]', ['a', 1], STRING, '1'],
  ['args[0]', ['a\0'], STRING, '"a\\u0000"'],
  ['dataDirs', '/a', /an array of strings/, '"/a"'],
  ['dataDirs[0]', [''], /a non-empty path without NUL/, '""'],
  ['env', 'A=1', /an object/, '"A=1"'],
  ['env', { 'A=B': '1' }, /names that have no "="/, '"A=B"'],
  ['env', { '': '1' }, /names that have no "="/, '""'],
  ['env.A', { A: 1 }, STRING, '1'],
  ['env.A', { A: 'x\0' }, STRING, '"x\\u0000"'],
  ['host', '', TEXT, '""'],
  ['port', 0, PORT, '0'],
  ['port', 65_536, PORT, '65536'],
  ['port', 80.5, PORT, '80.5'],
  ['port', '80', PORT, '"80"'],
  ['port', Number.NaN, PORT, 'NaN'],
  ['readyPort', 0, PORT, '0'],
  ['readyLine', '', READY_LINE, '""'],
  ['readyLine', 'two\nlines', READY_LINE, '"two\\nlines"'],
  ['readyLine', ['ready'], READY_LINE, "[ 'ready' ]"],
  ['isHealthy', true, /a function/, 'true'],
  ['prepare', {}, /a function/, '{}'],
  ['prepareTimeoutMs', -1, MILLISECONDS, '-1'],
  ['lifetime', 'forever', /"detached"/, '"forever"'],
  ['startTimeoutMs', -1, MILLISECONDS, '-1'],
  ['startTimeoutMs', Number.NaN, MILLISECONDS, 'NaN'],
  ['checkTimeoutMs', '5', MILLISECONDS, '"5"'],
  ['stopTimeoutMs', -0.1, MILLISECONDS, '-0.1'],
  ['stopSignal', 'TERM', /a signal name such as "SIGTERM"/, '"TERM"'],
  ['stopSignal', 15, /a signal name such as "SIGTERM"/, '15'],
  ['stopSignal', 'toString', /a signal name such as "SIGTERM"/, '"toString"'],
  ['installHint', 5, STRING, '5'],
  ['logRotation', 5, /an object/, '5'],
  ['logRotation.overBytes', { overBytes: -1 }, /a number, 0 or more/, '-1'],
  ['logRotation.keep', { keep: Number.NaN }, /a whole number from 0 to 1000/, 'NaN'],
  ['pidFile', '/nowhere/state/x.lock', /another file than "lockFile"/, '"/nowhere/state/x.lock"'],
  ['logFile', '/nowhere/state/x.pid', /another file than "pidFile"/, '"/nowhere/state/x.pid"'],
  [
    'logFile',
    '/nowhere/state/x.journal',
    /another file than the journal beside the lock file/,
    '"/nowhere/state/x.journal"',
  ],
  ['pidFile', '/nowhere/state/x.users', /another file than the list of users/, '"/nowhere/state/x.users"'],
  [
    'lockFile',
    '/nowhere/state/logs/x.log.1',
    /another file than one to which the log is moved/,
    '"/nowhere/state/logs/x.log.1"',
  ],
  ['pidFile', '/nowhere/state/logs/x.log.12', /another file than one to which/, '"/nowhere/state/logs/x.log.12"'],
];

for (const [option, value, expectation, shown] of WRONG) {
  const title = shown.length > 40 ? `${shown.slice(0, 40)}…` : shown;
  test(`the option "${option}" with the value ${title} throws a TypeError that says so`, () => {
    const key = option.replace(/[.[].*/, '');
    assert.throws(
      () => new ProcessManager({ ...GOOD, [key]: value }),
      (error) => {
        assert.ok(error instanceof TypeError, String(error));
        assert.ok(error.message.startsWith(`"${option}" must be `), error.message);
        assert.match(error.message, expectation);
        assert.ok(error.message.endsWith(`not ${shown}`), error.message);
        return true;
      },
    );
  });
}

for (const lifetime of ['tied', 'shared'] as const) {
  test(`with the lifetime ${lifetime} a variable that no shell can name throws a TypeError, unless it is to be removed`, () => {
    for (const name of ['a.b', 'npm-x', '1st', 'ü', 'ends\n']) {
      const spec: ProcessSpec = { ...GOOD, lifetime, env: { [name]: 'value' } };
      assert.throws(() => new ProcessManager(spec), {
        name: 'TypeError',
        message: `"env" must be an object with names of letters, digits and "_", the first no digit, for the lifetime "${lifetime}", not ${JSON.stringify(name)}`,
      });
      assert.ok(new ProcessManager({ ...spec, lifetime: 'detached' }));
      assert.ok(new ProcessManager({ ...spec, env: { [name]: undefined, _A1: 'value' } }));
    }
  });
}

test('a missing spec throws a TypeError', () => {
  for (const spec of [undefined, null, 'x', 1]) {
    assert.throws(
      () => new ProcessManager(spec as unknown as ProcessSpec),
      /^TypeError: "spec" must be an object, not /,
    );
  }
});

test('the message does not repeat a very long value whole', () => {
  assert.throws(
    () => new ProcessManager({ ...GOOD, name: 'n'.repeat(1e6) }),
    (error) => error instanceof TypeError && error.message.length < 400,
  );
});

test('the defaults are those of the contract', () => {
  const { spec } = new ProcessManager(GOOD);
  const { lockFile, pidFile, logFile, host, lifetime, stopSignal, args, env, dataDirs } = spec;
  assert.deepEqual(
    { lockFile, pidFile, logFile, host, lifetime, stopSignal, args, env, dataDirs },
    {
      lockFile: '/nowhere/state/x.lock',
      pidFile: '/nowhere/state/x.pid',
      logFile: '/nowhere/state/logs/x.log',
      host: '127.0.0.1',
      lifetime: 'detached',
      stopSignal: 'SIGTERM',
      args: [],
      env: {},
      dataDirs: [],
    },
  );
  assert.equal(spec.prepareTimeoutMs, 600_000);
  assert.deepEqual([spec.startTimeoutMs, spec.checkTimeoutMs, spec.stopTimeoutMs], [10_000, 2_000, 10_000]);
});

test('an option that is undefined has its default', () => {
  const options = { args: undefined, host: undefined, port: undefined, lockFile: undefined, cwd: undefined };
  const { spec } = new ProcessManager({ ...GOOD, ...options } as unknown as ProcessSpec);
  assert.deepEqual(
    [spec.args, spec.host, spec.port, spec.lockFile],
    [[], '127.0.0.1', undefined, '/nowhere/state/x.lock'],
  );
});

test('a leading ~ is the home folder in every path', () => {
  const { spec } = new ProcessManager({
    ...GOOD,
    stateDir: '~/s',
    lockFile: '~/l/x.lock',
    pidFile: '~/p',
    logFile: '~/g',
    cwd: '~',
    dataDirs: ['~/d', '/a/~'],
  });
  const home = homedir();
  assert.deepEqual(
    [spec.stateDir, spec.lockFile, spec.pidFile, spec.logFile, spec.cwd, spec.dataDirs],
    [`${home}/s`, `${home}/l/x.lock`, `${home}/p`, `${home}/g`, home, [`${home}/d`, '/a/~']],
  );
});

test('relative paths are resolved from the folder that is current when the manager is created', () => {
  const { spec } = new ProcessManager({ ...GOOD, stateDir: 'state', logFile: './x.log', dataDirs: ['../d'] });
  assert.deepEqual(
    [spec.stateDir, spec.lockFile, spec.logFile, spec.dataDirs],
    [
      join(process.cwd(), 'state'),
      join(process.cwd(), 'state/x.lock'),
      join(process.cwd(), 'x.log'),
      [join(process.cwd(), '../d')],
    ],
  );
});

test('0 and Infinity are valid durations, and a name may have 100 letters', () => {
  const changes = { startTimeoutMs: Number.POSITIVE_INFINITY, stopTimeoutMs: 0, checkTimeoutMs: 0.5 };
  const { spec } = new ProcessManager({ ...GOOD, ...changes, name: 'n'.repeat(100) });
  assert.deepEqual([spec.startTimeoutMs, spec.stopTimeoutMs, spec.checkTimeoutMs], [Number.POSITIVE_INFINITY, 0, 0.5]);
});

test('a later change of the options object does not change the spec of the manager', () => {
  const args = ['one'];
  const env: Record<string, string> = { A: '1' };
  const dataDirs = ['/a'];
  const options = { ...GOOD, args, env, dataDirs };
  const { spec } = new ProcessManager(options);
  options.name = 'y';
  args.push('two');
  env.A = '2';
  dataDirs.pop();
  assert.deepEqual([spec.name, spec.args, spec.env, spec.dataDirs], ['x', ['one'], { A: '1' }, ['/a']]);
});

test('creating a manager, and asking one that never ran, creates no file', async (t) => {
  const folder = temporaryFolder(t);
  const manager = new ProcessManager({ ...GOOD, stateDir: join(folder, 'state'), dataDirs: [join(folder, 'data')] });
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal(await manager.isRunning(), false);
  assert.deepEqual(await manager.logTail(), []);
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.deepEqual(readdirSync(folder), []);
  assert.equal(existsSync('/nowhere'), false);
});
