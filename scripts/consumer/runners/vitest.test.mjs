import * as library from 'flock-process';
import { expect, test, vi } from 'vitest';
import { defineCases } from './cases.cjs';

defineCases({
  library,
  test: (title, work) => test(title, () => work((actual, expected) => expect(actual).toEqual(expected))),
  useFakeTimers: (ms) => vi.useFakeTimers().setSystemTime(ms),
  useRealTimers: () => vi.useRealTimers(),
});
