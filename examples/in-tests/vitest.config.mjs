/** `npx vitest run --root examples/in-tests`: one Temporal for all test files. */
// @ts-check
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { globalSetup: 'vitest-setup.mjs', include: ['vitest.test.mjs'], testTimeout: 30_000 },
});
