/**
 * What a dependent does that is bundled or run by jest: it takes a lock, meets contention, and runs a server of each lifetime. This file
 * imports nothing, so that each message of a bundler is about the library. The tied and the shared server end with this process.
 */

/** @param {typeof import('flock-process')} library @param {{ server: string, folder: string }} options */
module.exports = async function useAll(library, { server, folder }) {
  const spec = (name, changes) => {
    return { name, command: process.execPath, args: [server, '0'], stateDir: `${folder}/${name}`, ...changes };
  };
  const seen = { contention: contend(library, `${folder}/job.lock`) };
  for (const lifetime of ['detached', 'tied', 'shared']) {
    const manager = new library.ProcessManager(spec(lifetime, { lifetime }));
    const { pid } = await manager.start();
    const { state } = await manager.status();
    const [holder] = await library.lockHolders(manager.spec.lockFile);
    seen[lifetime] = holder === pid ? state : `held by PID ${holder}, not ${pid}`;
    if (lifetime === 'detached') seen.stop = (await manager.stop()).outcome;
  }
  const preset = ({ port, stateDir }) => spec('thrown-away', { args: [server, String(port)], port, stateDir });
  const instance = await library.startEphemeral(preset);
  seen.ephemeral = await (await fetch(`http://${instance.address}/`)).text();
  await instance.stop();
  seen.through = lockedThrough();
  return seen;
};

/** Returns the name of the error, which must survive a minifier. */
function contend(library, path) {
  const lock = library.acquireLock(path);
  try {
    library.acquireLock(path);
    return 'granted twice';
  } catch (error) {
    const isOurs = error instanceof library.LockHeldError && error instanceof library.FlockProcessError;
    return isOurs ? `${error.name} ${error.code}` : `not an error of this library: ${error}`;
  } finally {
    lock.release();
  }
}

function lockedThrough() {
  process.report.excludeNetwork = true;
  const { sharedObjects } = process.report.getReport();
  return sharedObjects.some((path) => path.endsWith('fs_ext.node')) ? 'fs-ext' : 'a helper';
}
