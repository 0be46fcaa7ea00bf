/** This test runs in jest's default mode. */
const library = require('flock-process');
const { defineCases } = require('./cases.cjs');

defineCases({
  library,
  test: (title, work) => test(title, () => work((actual, expected) => expect(actual).toEqual(expected))),
  useFakeTimers: (ms) => jest.useFakeTimers().setSystemTime(ms),
  useRealTimers: () => jest.useRealTimers(),
});
