// @ts-check
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { globalSetup: './hold.mjs', include: ['*.test.mjs'], hookTimeout: 60_000, testTimeout: 30_000 },
});
