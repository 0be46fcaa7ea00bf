/**
 * For `node --test --require`: the runner is a user as well, so that the server lasts when files run one after another.
 * Not --import, which the runner does not do itself.
 */
// @ts-check
const { isMainThread } = require('node:worker_threads');

// Node hands --require on to the files, and those to their worker threads: none of them has to load Temporal once more.
const isRunner = isMainThread && process.env.NODE_TEST_CONTEXT === undefined;

if (isRunner) hold().catch(() => undefined); // The files fail with the same error, and report it.

async function hold() {
  const { joinTemporal } = await import('./temporal.mjs');
  const temporal = await joinTemporal();
  process.once('beforeExit', () => temporal.leave());
}
