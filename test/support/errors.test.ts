/** What makes an error one of this library's, even between two copies of it, and what is read from errors of another realm. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import * as library from '../../src/index.js';
import { errorCode, errorText, FlockProcessError, isSystemError, LockHeldError } from '../../src/support/errors.js';

type ErrorModule = typeof import('../../src/support/errors.js');

/** Another copy of the module, as a second version of the package in one process would load it. */
async function importCopy(name: string): Promise<ErrorModule> {
  const copy: ErrorModule = await import(`${new URL('../../src/support/errors.js', import.meta.url)}?copy=${name}`);
  assert.notEqual(copy.LockHeldError, LockHeldError);
  return copy;
}

const CODES: Record<string, string> = {
  LockHeldError: 'ERR_LOCK_HELD',
  LockUnavailableError: 'ERR_LOCK_UNAVAILABLE',
  FlockBindingError: 'ERR_FLOCK_BINDING',
  UnsupportedPlatformError: 'ERR_UNSUPPORTED_PLATFORM',
  CommandNotFoundError: 'ERR_COMMAND_NOT_FOUND',
  SpawnError: 'ERR_SPAWN',
  PortInUseError: 'ERR_PORT_IN_USE',
  EarlyExitError: 'ERR_EARLY_EXIT',
  StartTimeoutError: 'ERR_START_TIMEOUT',
  UnhealthyError: 'ERR_UNHEALTHY',
  StoppedError: 'ERR_STOPPED',
  LockDroppedError: 'ERR_LOCK_DROPPED',
  StopTimeoutError: 'ERR_STOP_TIMEOUT',
  CrashLoopError: 'ERR_CRASH_LOOP',
  OptionsMismatchError: 'ERR_OPTIONS_MISMATCH',
  PredecessorError: 'ERR_PREDECESSOR',
  StateFileError: 'ERR_STATE_FILE',
};

type ErrorClass = new (message: string, facts: object) => FlockProcessError;

/** The error classes that the package exports, without their base, by name. */
const classes = Object.entries(library).filter(
  ([name]) => name.endsWith('Error') && name !== 'FlockProcessError',
) as unknown as [string, ErrorClass][];

test('each exported error has its name, its code and its facts, and is an instance only of its own class and the base', () => {
  assert.deepEqual(classes.map(([name]) => name).toSorted(), Object.keys(CODES).toSorted());
  for (const [name, errorClass] of classes) {
    const error = new errorClass('why', { path: '/x', cause: 'the original' });
    assert.deepEqual({ ...error }, { code: CODES[name], path: '/x' });
    assert.deepEqual([error.name, error.message, error.cause], [name, 'why', 'the original']);
    assert.equal(error.stack?.split('\n')[0], `${name}: why`);
    assert.match(inspect(error), new RegExp(`^${name}: why\n`));
    const matching = classes.filter(([, other]) => error instanceof other).map(([other]) => other);
    assert.deepEqual(matching, [name]);
    assert.ok(error instanceof FlockProcessError && error instanceof Error);
  }
});

test('an error without a cause has none', () => {
  assert.equal('cause' in new LockHeldError('why', { path: '/x' }), false);
});

test('a name survives a minifier, which gives the classes other names', async () => {
  const copy = await importCopy('minified');
  Object.defineProperty(copy.LockHeldError, 'name', { value: 'e' });
  const error = new copy.LockHeldError('why', { path: '/x' });
  assert.equal(error.name, 'LockHeldError');
  assert.equal(String(error), 'LockHeldError: why');
});

test('two copies of the library in one process recognise the errors of each other', async () => {
  const copies = [await importCopy('one'), await importCopy('two')];
  for (const [made, asked] of [copies, copies.toReversed()] as [ErrorModule, ErrorModule][]) {
    const error: unknown = new made.LockHeldError('why', { path: '/x' });
    assert.ok(error instanceof asked.LockHeldError);
    assert.ok(error instanceof asked.FlockProcessError);
    assert.ok(!(error instanceof asked.LockUnavailableError));
    assert.throws(() => {
      throw error;
    }, asked.LockHeldError);
  }
});

test('a class that is derived from one of the errors is an ordinary class', async () => {
  class Mine extends LockHeldError {
    override name = 'Mine';
  }
  const other = await importCopy('derived');
  const mine: unknown = new Mine('why', { path: '/x' });
  const held: unknown = new LockHeldError('why', { path: '/x' });
  assert.ok(mine instanceof Mine);
  assert.ok(!(held instanceof Mine));
  assert.ok(!(new other.LockHeldError('why', { path: '/x' }) instanceof Mine));
  assert.deepEqual([String(mine), (mine as Mine).code], ['Mine: why', 'ERR_LOCK_HELD']);
  for (const { LockHeldError: held, FlockProcessError: base, SpawnError: another } of [library, other]) {
    assert.deepEqual([mine instanceof held, mine instanceof base, mine instanceof another], [true, true, false]);
  }

  class Own extends FlockProcessError {}
  const own: unknown = new Own('ERR_OWN', 'why', { cause: 'the original' });
  assert.ok(own instanceof Own && own instanceof FlockProcessError && own instanceof other.FlockProcessError);
  assert.ok(!(own instanceof LockHeldError));
  assert.deepEqual([own.code, own.name, own.cause], ['ERR_OWN', 'FlockProcessError', 'the original']);
});

test('no other object is an instance, whatever its name and code are', () => {
  const error = Object.assign(new Error('why'), { name: 'LockHeldError', code: 'ERR_LOCK_HELD', path: '/x' });
  const copied = structuredClone(new LockHeldError('why', { path: '/x' }));
  for (const value of [
    error,
    copied,
    { ...error },
    new Error('why'),
    LockHeldError,
    null,
    undefined,
    'ERR_LOCK_HELD',
    1,
  ]) {
    assert.equal((value as unknown) instanceof LockHeldError, false, inspect(value));
    assert.equal((value as unknown) instanceof FlockProcessError, false, inspect(value));
  }
});

test('the error code of the system is read from an error of another realm too', () => {
  let ours: unknown;
  try {
    readFileSync('/nowhere');
  } catch (error) {
    ours = error;
  }
  const script = `Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT', syscall: 'open' })`;
  const foreign: unknown = runInNewContext(script);
  assert.equal(foreign instanceof Error, false);
  for (const error of [ours, foreign]) {
    assert.equal(errorCode(error), 'ENOENT');
    assert.match(errorText(error), /^ENOENT: no such file/);
    assert.equal(isSystemError(error), true);
  }
});

test('any thrown value has a text, and only errors of the system have a code', () => {
  for (const [thrown, text] of [
    [new Error('why'), 'why'],
    ['why', 'why'],
    [undefined, 'undefined'],
    [null, 'null'],
    [{ code: 20 }, '{ code: 20 }'],
  ] as const) {
    assert.deepEqual([errorText(thrown), errorCode(thrown), isSystemError(thrown)], [text, undefined, false]);
  }
});

for (const [what, error, text] of [
  ['an object', { step: 'migrate', left: 3 }, `{ step: 'migrate', left: 3 }`],
  ['an object that cannot be made a text', Object.create(null), '[Object: null prototype] {}'],
  ['a symbol', Symbol('gone'), 'Symbol(gone)'],
  [
    'a connection that every address refused',
    Object.assign(new AggregateError([new Error('connect ECONNREFUSED ::1:9'), new Error('connect ECONNREFUSED')]), {
      code: 'ECONNREFUSED',
    }),
    'connect ECONNREFUSED ::1:9; connect ECONNREFUSED',
  ],
  ['an error without a message', new RangeError(), 'RangeError'],
  ['a text', 'nothing works', 'nothing works'],
  ['nothing', undefined, 'undefined'],
] as const) {
  test(`any thrown value has a text: ${what}`, () => {
    assert.equal(errorText(error), text);
  });
}
