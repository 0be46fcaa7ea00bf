import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, type Instance, isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { callElsewhere, onDarwin } from '../helpers/one-call.js';
import { reachesState } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';
import { accepts } from '../helpers/witness.js';

const UID = process.getuid?.() ?? -1;

/**
 * With a table of sockets a start names a listener within this time, in which the listener also gets 300 ms to go away.
 * Without the table a connection attempt takes a second.
 */
const AT_ONCE_MS = 900;

/** Many containers have no IPv6 address. */
const HAS_IPV6 = Object.values(networkInterfaces()).some((found) => found?.some(({ address }) => address === '::1'));

for (const [where, address] of [
  ['on the same address', '127.0.0.1'],
  ['on all IPv4 addresses', '0.0.0.0'],
] as const) {
  test(`a start names a stranger that listens ${where}, and spawns nothing`, async (t) => {
    const spec = await redisSpec(t);
    const stranger = await startListener(t, spec.port, address);
    const manager = new ProcessManager(spec);
    manager.on('spawned', () => assert.fail('something was spawned'));
    await assert.rejects(manager.start(), {
      code: 'ERR_PORT_IN_USE',
      name: 'PortInUseError',
      port: spec.port,
      pid: stranger.pid,
      message: new RegExp(`PID ${stranger.pid}\\) listens on port ${spec.port}`),
    });
    await assertNothingLeft(manager, spec);
    assert.equal(stranger.isAlive, true);
  });
}

for (const [where, address] of [
  ['on the same address', '127.0.0.1'],
  ['on all IPv4 addresses', '0.0.0.0'],
  ...(HAS_IPV6 ? ([['on all addresses of both kinds', '::']] as const) : []),
] as const) {
  test(`a start names a suspended stranger with a full queue ${where} at once`, async (t) => {
    const spec = await redisSpec(t);
    const stranger = await suspendListener(t, spec.port, address);
    const manager = new ProcessManager(spec);
    manager.on('spawned', () => assert.fail('something was spawned'));
    let ms = Number.POSITIVE_INFINITY;
    // A busy machine can take so long by itself, but hardly each time.
    for (let attempt = 1; attempt <= 5 && ms >= AT_ONCE_MS; attempt += 1) {
      const began = performance.now();
      await assert.rejects(manager.start(), { name: 'PortInUseError', port: spec.port, pid: stranger.pid });
      ms = performance.now() - began;
    }
    assert.ok(ms < AT_ONCE_MS, `${ms} ms`);
    await assertNothingLeft(manager, spec);
    assert.equal(stranger.isAlive, true);
  });
}

test('a start that has found a stranger with a full queue leaves no table of sockets open', async (t) => {
  const spec = await redisSpec(t);
  await suspendListener(t, spec.port, '127.0.0.1');
  await assert.rejects(new ProcessManager(spec).start(), { name: 'PortInUseError' });
  const open = readdirSync('/proc/self/fd').map((fd) => readlinkOf(`/proc/self/fd/${fd}`));
  assert.deepEqual(
    open.filter((link) => /\/net\/tcp/.test(link)),
    [],
  );
});

test('a stranger with a full queue on another address does not keep a start from working', async (t) => {
  const spec = await redisSpec(t);
  const others = HAS_IPV6 ? ['127.0.0.2', '::1'] : ['127.0.0.2'];
  await Promise.all(others.map((address) => suspendListener(t, spec.port, address)));
  assert.equal((await new ProcessManager(spec).start()).reused, false);
});

test('a stranger with a full queue does not keep the calling process alive after the start has failed', async (t) => {
  const spec = await redisSpec(t);
  const stranger = await suspendListener(t, spec.port, '127.0.0.1');
  const began = performance.now();
  await assert.rejects(callElsewhere(t, 'start', spec), { name: 'PortInUseError', pid: stranger.pid });
  assert.ok(performance.now() - began < MUST_HAPPEN_MS);
});

for (const [what, PORT_PACKAGE, outcome] of [
  ['when tcp-port-used says so', 'used', { name: 'PortInUseError' }],
  ['when a connection attempt succeeds, if tcp-port-used is not installed', 'missing', undefined],
] as const) {
  test(`without a table of sockets a port is used ${what}; with a table tcp-port-used is not asked`, async (t) => {
    const spec = await redisSpec(t);
    const nodeArgs = ['--require', plainFixture('port-package.cjs')];
    const env = { ...process.env, PORT_PACKAGE };
    const start = (more: readonly string[]) =>
      callElsewhere<Instance>(t, 'start', spec, { nodeArgs: [...nodeArgs, ...more], env });
    assert.equal((await start([])).reused, false);
    await new ProcessManager(spec).stop();
    if (outcome === undefined) assert.equal((await start(onDarwin.nodeArgs)).reused, false);
    else await assert.rejects(start(onDarwin.nodeArgs), outcome);
    await new ProcessManager(spec).stop();
    const stranger = await startListener(t, spec.port, '127.0.0.1');
    await assert.rejects(start(onDarwin.nodeArgs), { name: 'PortInUseError' });
    assert.equal(stranger.isAlive, true);
  });
}

test('without a table of sockets a stranger with a full queue counts as absent after a second', async (t) => {
  const spec = await redisSpec(t);
  await suspendListener(t, spec.port, '127.0.0.1');
  const remote = await startRemoteManager(t, spec, onDarwin);
  await assert.rejects(remote.start(), { name: 'EarlyExitError' });
});

test('a start names its own process when that listens on all IPv4 and IPv6 addresses', async (t) => {
  const spec = await redisSpec(t);
  await listen(t, spec.port);
  await assert.rejects(new ProcessManager(spec).start(), { name: 'PortInUseError', pid: process.pid });
});

test('a stranger that listens on another address does not keep a start from working', async (t) => {
  const spec = await redisSpec(t);
  const others = HAS_IPV6 ? ['127.0.0.2', '::1'] : ['127.0.0.2'];
  const strangers = await Promise.all(others.map((address) => startListener(t, spec.port, address)));
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  assert.equal(await redisPid(spec.port), pid);
  await manager.stop();
  assert.equal(isRunningProcess(pid), false);
  assert.ok(strangers.every(({ isAlive }) => isAlive));
});

if (HAS_IPV6) {
  test('a start names a stranger on the IPv6 address of the spec', async (t) => {
    const spec = await redisSpec(t, { host: '::1' });
    const stranger = await startListener(t, spec.port, '::1');
    await assert.rejects(new ProcessManager(spec).start(), { name: 'PortInUseError', pid: stranger.pid });
  });
}

test('a start waits for a listener that goes away during the check', async (t) => {
  const spec = await redisSpec(t);
  const listener = await listen(t, spec.port);
  let looks = 0;
  listener.on('connection', (socket) => {
    socket.destroy();
    looks += 1;
    listener.close();
  });
  const { pid, reused } = await new ProcessManager(spec).start();
  assert.equal(looks, 1);
  assert.equal(reused, false);
  assert.equal(await redisPid(spec.port), pid);
});

test('a program that listens on the port for an instant after the spawn does not make the process ready', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 600_000, 'pause-on': 'SIGUSR2' });
  let passerBy: Program | undefined;
  const isHealthy = async () => {
    passerBy?.kill();
    await passerBy?.exited;
    return true;
  };
  const manager = new ProcessManager({ ...spec, isHealthy });
  const logFile = join(spec.stateDir, 'logs/node-server.log');
  const listenLater = async ({ pid }: Instance) => {
    passerBy = startProgram(t, 'python3', ['-m', 'http.server', '--bind', '127.0.0.1', String(spec.port)]);
    assert.equal((await passerBy.exited).signal, 'SIGKILL');
    await eventually('the server has begun', () => /^server /m.test(readFileSync(logFile, 'utf8')));
    // Until then nobody listens: a start that the passer-by has deceived fulfils.
    await delay(STILL_MS * 4);
    process.kill(pid, 'SIGUSR2');
  };
  let listening: Promise<void> | undefined;
  manager.once('spawned', (instance) => {
    listening = listenLater(instance);
  });
  await manager.start();
  const isListening = await accepts(spec.port);
  await listening;
  assert.equal(isListening, true);
});

test('a start waits for the port lock of another start, and then goes on', async (t) => {
  const TMPDIR = temporaryFolder(t);
  const spec = await redisSpec(t);
  const portLock = acquireLock(portLockFile(TMPDIR, spec));
  const manager = await startRemoteManager(t, spec, { env: { ...process.env, TMPDIR } });
  const started = manager.start();
  await eventually('the start holds the lock of the process', () => isLocked(join(spec.stateDir, 'redis.lock')));
  const spawned = eventually('the process is spawned', () => manager.events.some(({ event }) => event === 'spawned'), {
    withinMs: STILL_MS,
  });
  await assert.rejects(spawned, /not within/);
  portLock.release();
  assert.equal((await started).reused, false);
  assert.equal(isLocked(portLock.path), false);
});

test('a start that does not get the port lock within its start time spawns nothing', async (t) => {
  const TMPDIR = temporaryFolder(t);
  const spec = await redisSpec(t, { startTimeoutMs: 300 });
  using _ = acquireLock(portLockFile(TMPDIR, spec));
  const manager = await startRemoteManager(t, spec, { env: { ...process.env, TMPDIR } });
  const began = performance.now();
  await assert.rejects(manager.start(), { code: 'ERR_PORT_IN_USE', port: spec.port, message: /is being started/ });
  assert.ok(performance.now() - began >= 300);
  assert.deepEqual(
    manager.events.map(({ event }) => event),
    ['up', 'waiting'],
  );
  await assertNothingLeft(new ProcessManager(spec), spec);
});

test('a stop ends a start that waits for the port lock', async (t) => {
  const TMPDIR = temporaryFolder(t);
  const spec = await redisSpec(t);
  using _ = acquireLock(portLockFile(TMPDIR, spec));
  const manager = await startRemoteManager(t, spec, { env: { ...process.env, TMPDIR } });
  const started = assert.rejects(manager.start(), { name: 'StoppedError' });
  await eventually('the start holds the lock of the process', () => isLocked(join(spec.stateDir, 'redis.lock')));
  await new ProcessManager(spec).stop();
  await started;
  await assertNothingLeft(new ProcessManager(spec), spec);
});

const oddFolders: Record<string, (folder: string, elsewhere: string) => void> = {
  'a symbolic link': (folder, elsewhere) => symlinkSync(elsewhere, folder),
  'a dangling symbolic link': (folder, elsewhere) => symlinkSync(join(elsewhere, 'missing'), folder),
  "another user's": (folder) => {
    mkdirSync(folder, { mode: 0o777 });
    // Only root can give a folder away. For any other user the folder may be written to by everybody instead.
    if (UID === 0) chownSync(folder, 65534, 65534);
    else chmodSync(folder, 0o777);
  },
  'one that everybody may write to': (folder) => {
    mkdirSync(folder);
    chmodSync(folder, 0o777);
  },
};

for (const [what, make] of Object.entries(oddFolders)) {
  test(`a folder of port locks that is ${what} is not used, and the start works`, async (t) => {
    const TMPDIR = temporaryFolder(t);
    const elsewhere = temporaryFolder(t);
    const folder = join(TMPDIR, `flock-process-${UID}`);
    make(folder, elsewhere);
    const spec = await redisSpec(t);
    const manager = await startRemoteManager(t, spec, { env: { ...process.env, TMPDIR } });
    assert.equal((await manager.start()).reused, false);
    assert.deepEqual(readdirSync(elsewhere), []);
    assert.deepEqual(existsSync(folder) ? readdirSync(folder) : [], []);
  });
}

test('a folder in the place of the port lock is left there, and the start works', async (t) => {
  const TMPDIR = temporaryFolder(t);
  const spec = await redisSpec(t);
  mkdirSync(portLockFile(TMPDIR, spec), { recursive: true });
  const manager = await startRemoteManager(t, spec, { env: { ...process.env, TMPDIR } });
  assert.equal((await manager.start()).reused, false);
  assert.equal(existsSync(portLockFile(TMPDIR, spec)), true);
});

function portLockFile(tmpdir: string, { port }: { port: number }): string {
  return join(tmpdir, `flock-process-${UID}`, `port-${port}.lock`);
}

async function assertNothingLeft(manager: ProcessManager, spec: ProcessSpec): Promise<void> {
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.deepEqual(
    readdirSync(spec.stateDir).filter((name) => name.endsWith('.pid')),
    [],
  );
}

async function startListener(t: TestContext, port: number, address: string): Promise<Program> {
  const args = ['--port', String(port), '--bind', address, '--save', '', '--dir', temporaryFolder(t)];
  const program = startProgram(t, 'redis-server', args);
  await program.printed(/Ready to accept connections/);
  return program;
}

/** Starts a listener with a full queue, and returns when it is suspended and answers nobody. */
async function suspendListener(t: TestContext, port: number, address: string): Promise<Program> {
  const program = startProgram(t, 'python3', [plainFixture('full-backlog.py'), address, String(port)]);
  await program.printed(/^\d+\n/);
  program.kill('SIGSTOP');
  await reachesState(program.pid, 'T');
  return program;
}

function readlinkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // ENOENT: the descriptor with which the folder was read is closed already.
  }
}

async function listen(t: TestContext, port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((listening, failed) => server.once('error', failed).listen(port, listening));
  t.after(() => server.close());
  return server;
}
