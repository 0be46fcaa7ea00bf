/** This test runs in jest with --experimental-vm-modules. */
import { expect, jest, test } from '@jest/globals';
import * as library from 'flock-process';
import cases from './cases.cjs';

cases.defineCases({
  library,
  test: (title, work) => test(title, () => work((actual, expected) => expect(actual).toEqual(expected))),
  useFakeTimers: (ms) => jest.useFakeTimers().setSystemTime(ms),
  useRealTimers: () => jest.useRealTimers(),
});
