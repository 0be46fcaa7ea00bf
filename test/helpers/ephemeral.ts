/** Presets for ephemeral instances, and the folder that holds their folders. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessSpec } from '../../src/index.js';
import { plainFixture } from './paths.js';
import { temporaryFolder } from './resources.js';

export interface RedisOptions {
  stateDir?: string;
  port?: number;
  /** @default 16 */
  databases?: number;
}

/** A stock redis-server; startEphemeral starts it with 3 databases. */
export const redisPreset = Object.assign(
  ({ stateDir = '/nonexistent/default', port = 1, databases = 16 }: RedisOptions = {}): ProcessSpec => ({
    name: 'redis',
    command: 'redis-server',
    args: ['--port', String(port), '--save', '', '--dir', stateDir, '--databases', String(databases)],
    port,
    stateDir,
    startTimeoutMs: 60_000, // Eighty of them start at once.
  }),
  { forTests: { databases: 3 } },
);

/** test/fixtures/server.mjs, with the given behaviour. */
export function nodePreset(behaviour: Record<string, string | number> = {}) {
  return ({ stateDir = '/nonexistent/default', port = 1 }: { stateDir?: string; port?: number } = {}): ProcessSpec => ({
    name: 'node-server',
    command: process.execPath,
    args: [
      plainFixture('server.mjs'),
      ...Object.entries({ port, ...behaviour }).map(([key, value]) => `--${key}=${value}`),
    ],
    port,
    stateDir,
    startTimeoutMs: 20_000,
  });
}

/**
 * Gives this process a temp folder of its own until the test is over, so that no other process makes or sweeps folders
 * there.
 */
export function ownTemporaryFolder(test: Parameters<typeof temporaryFolder>[0]): void {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = temporaryFolder(test);
  test.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
}

/** The folder that holds the folders of this user. */
export function userFolder(): string {
  return join(tmpdir(), `flock-process-${process.getuid?.()}`);
}
