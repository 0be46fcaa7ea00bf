/** ts-jest compiles this file to CommonJS, and checks it against the declarations of the package. */
import { expect, jest, test } from '@jest/globals';
import * as library from 'flock-process';

type Work = (equal: (actual: unknown, expected: unknown) => void) => Promise<void>;

const { defineCases } = require('./cases.cjs');

defineCases({
  library,
  test: (title: string, work: Work) => test(title, () => work((actual, expected) => expect(actual).toEqual(expected))),
  useFakeTimers: (ms: number) => jest.useFakeTimers().setSystemTime(ms),
  useRealTimers: () => jest.useRealTimers(),
});
