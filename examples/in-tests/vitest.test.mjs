// @ts-check
import { expect, inject, test } from 'vitest';
import { runGreeting } from './run-workflow.mjs';

test('a workflow greets', async () => {
  expect(await runGreeting(inject('temporalAddress'), 'vitest')).toBe('Hello vitest');
});
