/**
 * For `node --test --require`: the runner is a user as well, so that the server lasts when files run one after another.
 * Not --import, which the runner hands on to the files and does not do itself.
 */
// @ts-check
hold().catch(() => undefined); // The files fail with the same error, and report it.

async function hold() {
  const { joinTemporal } = await import('./temporal.mjs');
  const temporal = await joinTemporal();
  process.once('beforeExit', () => temporal.leave());
}
