/**
 * What a dependent does, whichever way it loaded the library: it takes a lock, meets contention, starts a server, asks its status and
 * stops it, and runs a tied and a shared one. Prints what took the lock: `locked through fs-ext`.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { callAll } from './every-call.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);
/** A package manager may set NODE_OPTIONS, for a PnP loader, which is only for programs of the project. */
const env = { NODE_OPTIONS: undefined };

const [, program, task = 'all', argument] = process.argv;

/** The tasks that the second word of the command line can name. */
const tasks = {
  all: async (library) => {
    const stateDir = join(folder, `state-${process.pid}`);
    await lockAndContend(library, join(stateDir, 'job.lock'));
    await startAskStop(library, stateDir);
    await useThrowAway(library);
    console.log(`locked through ${lockedThrough()}`);
  },
  contend: (library) => console.log(contend(library, argument)),
  ask: async (library) => console.log((await new library.ProcessManager(serverSpec(argument)).status()).state),
  lock: (library) => library.acquireLock(join(folder, 'x.lock')),
  'call-all': callAll,
};

/** @param {typeof import('flock-process')} library */
export async function useLibrary(library) {
  await tasks[task](library);
}

async function lockAndContend(library, path) {
  const lock = library.acquireLock(path);
  assert.equal(contend(library, path), 'ERR_LOCK_HELD');
  assert.equal(await inAnotherProcess('contend', path), 'ERR_LOCK_HELD');
  assert.equal(library.isLocked(path), true);
  assert.deepEqual(await library.lockHolders(path), [process.pid]);
  await assert.rejects(library.waitForLock(path, { timeoutMs: 20 }), library.LockHeldError);
  library.releaseLock(lock);
  assert.equal(contend(library, path), 'granted');
  assert.equal(library.isLocked(path), false);
}

async function startAskStop(library, stateDir) {
  const manager = new library.ProcessManager(serverSpec(stateDir));
  const { pid, reused } = await manager.start();
  try {
    assert.equal(reused, false);
    assert.deepEqual(await new library.ProcessManager(serverSpec(stateDir)).start().then(({ pid }) => pid), pid);
    assert.equal(await inAnotherProcess('ask', stateDir), 'running');
    assert.deepEqual(await library.lockHolders(manager.spec.lockFile), [pid]);
  } finally {
    assert.equal((await manager.stop()).outcome, 'stopped');
  }
  assert.equal((await manager.status()).state, 'stopped');
}

/** Starts a process that is tied to this one and a shared one: both need the watcher, whose text is part of the package. */
async function useThrowAway(library) {
  const instances = [
    await library.startEphemeral(throwAwayServer),
    await library.startShared(throwAwayServer, { key: `consumer-${process.pid}` }),
  ];
  for (const instance of instances) {
    assert.equal(await (await fetch(`http://${instance.address}/`)).text(), 'served\n');
    await instance[Symbol.asyncDispose]();
    await assert.rejects(fetch(`http://${instance.address}/`));
  }
}

/** @returns the lock, or the code of the error */
function contend(library, path) {
  try {
    library.acquireLock(path).release();
    return 'granted';
  } catch (error) {
    assert.ok(error instanceof library.FlockProcessError);
    return error.code;
  }
}

async function inAnotherProcess(...words) {
  return (await run(process.execPath, [program, ...words])).stdout.trim();
}

/** The spec of a server that chooses its own port and writes it to a file. */
function serverSpec(stateDir) {
  const portFile = join(stateDir, 'port');
  return {
    name: 'server',
    command: process.execPath,
    args: [join(folder, 'server.mjs'), '0', portFile],
    env,
    stateDir,
    isHealthy: async (_instance, signal) =>
      (await fetch(`http://127.0.0.1:${readFileSync(portFile, 'utf8')}/`, { signal })).ok,
  };
}

function throwAwayServer({ port = 0, stateDir = folder } = {}) {
  const args = [join(folder, 'server.mjs'), String(port)];
  return { name: 'throw-away', command: process.execPath, args, env, port, stateDir };
}

/**
 * Tells what took the lock: the addon if it is among the loaded objects, otherwise the helper that the library's debug line on stderr
 * names.
 */
function lockedThrough() {
  process.report.excludeNetwork = true;
  const { sharedObjects } = process.report.getReport();
  return sharedObjects.some((path) => path.endsWith('fs_ext.node')) ? 'fs-ext' : 'a helper';
}
