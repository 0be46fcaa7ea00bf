import assert from 'node:assert/strict';
import * as library from 'flock-process';
import { it } from 'mocha';
import sinon from 'sinon';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  test: (title, work) => it(title, () => work(assert.deepEqual)),
  // By default process.nextTick is replaced as well, and then Node's sockets deliver nothing.
  useFakeTimers: (now) => sinon.useFakeTimers({ now, toNotFake: ['nextTick'] }),
  useRealTimers: () => sinon.restore(),
});
