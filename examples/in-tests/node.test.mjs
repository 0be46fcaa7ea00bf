/** A real Temporal in node:test, one line in `before`: `node --test examples/in-tests/node.test.mjs` */
// @ts-check
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startEphemeral, temporalDevServer } from 'flock-process';
import { runGreeting } from './run-workflow.mjs';

/** @type {import('flock-process').EphemeralInstance} */
let temporal;

before(async () => {
  temporal = await startEphemeral(temporalDevServer);
});

after(() => temporal.stop());

test('a workflow greets', async () => {
  assert.equal(await runGreeting(temporal.address, 'node:test'), 'Hello node:test');
});
