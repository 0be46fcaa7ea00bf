import assert from 'node:assert/strict';
import * as library from 'flock-process';
import { it } from 'mocha';
import sinon from 'sinon';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  test: (title, work) => it(title, () => work(assert.deepEqual)),
  // The default replaces process.nextTick as well, and with it Node's sockets fall silent.
  useFakeTimers: (now) => sinon.useFakeTimers({ now, toNotFake: ['nextTick'] }),
  useRealTimers: () => sinon.restore(),
});
