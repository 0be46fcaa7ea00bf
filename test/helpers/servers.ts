/** Specs of the real servers that the tests manage, each in a fresh folder and on a free port, and stopped after the test. */
import { join } from 'node:path';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { plainFixture } from './paths.js';
import { freePort, temporaryFolder } from './resources.js';

type Test = Parameters<typeof temporaryFolder>[0];

/** A stock redis-server without persistence. */
export async function redisSpec(
  test: Test,
  changes: Partial<ProcessSpec> = {},
): Promise<ProcessSpec & { port: number }> {
  const port = changes.port ?? (await freePort());
  return withFolder(test, (stateDir) => ({
    name: 'redis',
    command: 'redis-server',
    args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir],
    port,
    stateDir,
    ...changes,
  }));
}

/** test/fixtures/server.mjs with the given behaviour: `nodeSpec(test, { 'on-term': 'ignore' })`. */
export async function nodeSpec(
  test: Test,
  behaviour: Record<string, string | number> = {},
  changes: Partial<ProcessSpec> = {},
): Promise<ProcessSpec & { port: number }> {
  const port = changes.port ?? (await freePort());
  const args = Object.entries({ port, ...behaviour }).map(([key, value]) => `--${key}=${value}`);
  return withFolder(test, (stateDir) => ({
    name: 'node-server',
    command: process.execPath,
    args: [plainFixture('server.mjs'), ...args],
    port,
    stateDir,
    ...changes,
  }));
}

/** The spec of test/fixtures/server.py. */
export async function pythonSpec(
  test: Test,
  behaviour: 'close-descriptors' | 'daemonise' | undefined = undefined,
  changes: Partial<ProcessSpec> = {},
): Promise<ProcessSpec & { port: number }> {
  const port = changes.port ?? (await freePort());
  return withFolder(test, (stateDir) => ({
    name: 'python-server',
    command: 'python3',
    args: [plainFixture('server.py'), String(port), ...(behaviour === undefined ? [] : [behaviour])],
    port,
    stateDir,
    ...changes,
  }));
}

/**
 * The spec of sleep(1), which has no port and no health check. With `isHealthy` among the changes the test decides its
 * health.
 */
export function sleepSpec(test: Test, changes: Partial<ProcessSpec> = {}): ProcessSpec {
  return withFolder(test, (stateDir) => ({ name: 'sleeper', command: 'sleep', args: ['300'], stateDir, ...changes }));
}

/** `after` hooks run in the order of their registration: the stop is registered before the folder's removal. */
function withFolder<S extends ProcessSpec>(test: Test, make: (stateDir: string) => S): S {
  let spec: S | undefined;
  test.after(async () => {
    if (spec !== undefined) await new ProcessManager({ ...spec, stopTimeoutMs: 2_000 }).stop();
  });
  spec = make(join(temporaryFolder(test), 'state'));
  return spec;
}
