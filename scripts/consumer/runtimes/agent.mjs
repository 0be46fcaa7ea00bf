/** Runs the library in any runtime: each line of stdin is a call, `["start",{…}]`, and a line of stdout answers it. */
import { createInterface } from 'node:readline';
import {
  acquireLock,
  isLocked,
  lockHolders,
  ProcessManager,
  startEphemeral,
  temporalDevServer,
  waitForLock,
} from 'flock-process';

const locks = new Map();
const managers = new Map();
const instances = new Map();

const CALLS = {
  acquire: (path) => keepLock(acquireLock(path)),
  wait: async (path, options) => keepLock(await waitForLock(path, options)),
  /** As fake timers do that a test installs after it has loaded the library. */
  stopClock: () => {
    const fake = { now: () => 0 };
    Object.defineProperty(globalThis, 'performance', { value: fake, configurable: true, writable: true });
    Date.now = fake.now;
  },
  release: (path) => locks.get(path).release(),
  isLocked: (path) => isLocked(path),
  lockHolders: (path) => lockHolders(path),

  start: (spec) => managerOf(spec).start(),
  status: (spec) => managerOf(spec).status(),
  stop: (spec) => managerOf(spec).stop(),
  leave: (spec) => managerOf(spec).leave(),
  supervise: (spec) => {
    const manager = managerOf(spec);
    manager.on('ready', ({ pid }) => tell({ event: pid }));
    manager.supervise().done.catch((error) => tell({ error: textOf(error) }));
  },

  startEphemeral: async () => keepInstance(await startEphemeral(redis)),
  startTemporal: async (options) => keepInstance(await startEphemeral(temporalDevServer, options)),
  stopEphemeral: (pid) => instances.get(pid).stop(),
};

tell({ event: 'loaded' });
for await (const line of createInterface({ input: process.stdin })) {
  const [call, ...words] = JSON.parse(line);
  try {
    tell({ result: (await CALLS[call](...words)) ?? null });
  } catch (error) {
    tell({ error: textOf(error) });
  }
}

function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function textOf(error) {
  return `${error.code ?? error.name}: ${error.message}`;
}

function keepLock(lock) {
  locks.set(lock.path, lock);
}

function managerOf(spec) {
  const manager = managers.get(spec.stateDir) ?? new ProcessManager(spec);
  managers.set(spec.stateDir, manager);
  return manager;
}

function keepInstance(instance) {
  const { pid, port, stateDir, address } = instance;
  instances.set(pid, instance);
  return { pid, port, stateDir, address };
}

function redis({ port, stateDir }) {
  return {
    name: 'redis',
    command: 'redis-server',
    args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir],
    port,
    stateDir,
  };
}
