/** Presets for throw-away instances, and the folder in which they live. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessSpec } from '../../src/index.js';
import { plainFixture } from './paths.js';

export interface RedisOptions {
  stateDir?: string;
  port?: number;
  /** @default 16 */
  databases?: number;
}

/** A stock redis-server; under startEphemeral with 3 databases. */
export const redisPreset = Object.assign(
  ({ stateDir = '/nonexistent/default', port = 1, databases = 16 }: RedisOptions = {}): ProcessSpec => ({
    name: 'redis',
    command: 'redis-server',
    args: ['--port', String(port), '--save', '', '--dir', stateDir, '--databases', String(databases)],
    port,
    stateDir,
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

/** Where the folders of this user are. */
export function userFolder(): string {
  return join(tmpdir(), `flock-process-${process.getuid?.()}`);
}
