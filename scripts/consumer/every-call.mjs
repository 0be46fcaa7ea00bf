/** Makes every call of the library where all must be refused, and prints the error that all of them throw. */
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
    withLock: () => library.withLock('/nonexistent/x.lock', () => undefined),
    startEphemeral: () => library.startEphemeral(preset),
    startShared: () => library.startShared(preset, { key: 'x' }),
    temporalDevServer: () => library.temporalDevServer(),
  };
  const errors = await Promise.all(
    Object.entries({ ...calls, ...methodsOf(library) }).map(([name, call]) => refusal(name, call)),
  );
  for (const error of errors) assert.equal(String(error), String(errors[0]));
  // releaseLock is left out because it needs a lock, which cannot exist here.
  const others = Object.keys(library).filter((name) => !name.endsWith('Error') && !(name in calls));
  assert.deepEqual(others.sort(), ['ProcessManager', 'isSupported', 'releaseLock']);
  assert.equal(library.isSupported, false);
  console.log(String(errors[0]));
}

/** The methods of a manager, which can be constructed on any platform. @param {typeof import('flock-process')} library */
function methodsOf(library) {
  const manager = new library.ProcessManager(spec);
  const isMethod = (name) => name !== 'constructor' && name !== 'afterLastUser' && typeof manager[name] === 'function';
  // Methods inherited from EventEmitter never refuse anything, and `files` is not a method.
  const names = Object.getOwnPropertyNames(library.ProcessManager.prototype).filter((name) => name !== 'files');
  return Object.fromEntries(names.filter(isMethod).map((name) => [name, () => manager[name]()]));
}

async function refusal(name, call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error(`${name} did not refuse`);
}
