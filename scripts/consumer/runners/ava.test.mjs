import test from 'ava';
import * as library from 'flock-process';
import sinon from 'sinon';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  // The tests run one after another, because fake timers apply to all of them.
  test: (title, work) => test.serial(title, (t) => work((actual, expected) => t.deepEqual(actual, expected))),
  // By default process.nextTick is replaced as well, and then Node's sockets deliver nothing.
  useFakeTimers: (now) => sinon.useFakeTimers({ now, toNotFake: ['nextTick'] }),
  useRealTimers: () => sinon.restore(),
});
