/** `npx jest --config examples/in-tests/jest.config.mjs`: one Temporal for all test files. */
// @ts-check

/** @type {import('jest').Config} */
export default {
  globalSetup: './jest-setup.mjs',
  globalTeardown: './jest-teardown.mjs',
  testMatch: ['**/jest.test.cjs'],
  testTimeout: 30_000,
  transform: {},
};
