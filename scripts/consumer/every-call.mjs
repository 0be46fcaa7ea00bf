/** Makes every call of the library where it must refuse, and prints the one error that all of them give. */
import assert from 'node:assert/strict';

const spec = { name: 'x', command: 'x', stateDir: '/nonexistent' };
const preset = () => ({ ...spec, port: 1 });

/** @param {typeof import('flock-process')} library */
export async function callAll(library) {
  const calls = {
    acquireLock: () => library.acquireLock('/nonexistent/x.lock'),
    waitForLock: () => library.waitForLock('/nonexistent/x.lock'),
    isLocked: () => library.isLocked('/nonexistent/x.lock'),
    lockHolders: () => library.lockHolders('/nonexistent/x.lock'),
    ProcessManager: () => new library.ProcessManager(spec),
    startEphemeral: () => library.startEphemeral(preset),
    startShared: () => library.startShared(preset, { key: 'x' }),
    temporalDevServer: () => library.temporalDevServer(),
  };
  const errors = await Promise.all(Object.entries(calls).map(([name, call]) => refusal(name, call)));
  for (const error of errors) assert.equal(String(error), String(errors[0]));
  // releaseLock takes a lock, which nobody can have.
  const functions = Object.keys(library).filter((name) => !name.endsWith('Error'));
  assert.deepEqual(functions.sort(), [...Object.keys(calls), 'releaseLock'].sort());
  console.log(String(errors[0]));
}

async function refusal(name, call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error(`${name} did not refuse`);
}
