import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import * as library from 'flock-process';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  test: (title, work) => test(title, () => work(assert.deepEqual)),
  useFakeTimers: (now) => mock.timers.enable({ now }),
  useRealTimers: () => mock.timers.reset(),
});
