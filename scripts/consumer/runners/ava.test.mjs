import test from 'ava';
import * as library from 'flock-process';
import sinon from 'sinon';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  // One after the other: fake timers are there for all of them.
  test: (title, work) => test.serial(title, (t) => work((actual, expected) => t.deepEqual(actual, expected))),
  // The default replaces process.nextTick as well, and with it Node's sockets fall silent.
  useFakeTimers: (now) => sinon.useFakeTimers({ now, toNotFake: ['nextTick'] }),
  useRealTimers: () => sinon.restore(),
});
