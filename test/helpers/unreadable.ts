/**
 * Servers whose descriptors their starter may not inspect, each with the command that must stand in front of the
 * starter.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProcessSpec } from '../../src/index.js';
import { whereIs } from './path-with-only.js';
import { plainFixture } from './paths.js';
import { AS_NOBODY, IN_DOCKER, POWERLESS } from './powerless.js';
import { freePort } from './resources.js';
import { sleepSpec } from './servers.js';

type Test = Parameters<typeof sleepSpec>[0];

type Changes = Partial<ProcessSpec>;

export interface Unreadable {
  spec: ProcessSpec & { port: number };
  behind: readonly string[];
}

const installHint = 'Install it: "npm run setup"';

async function withPort(
  test: Test,
  behind: readonly string[],
  make: (port: number, folder: string) => Changes,
  changes: Changes,
): Promise<Unreadable> {
  const port = await freePort();
  const plain = sleepSpec(test, { name: 'unreadable', installHint });
  const spec = { ...plain, port, ...make(port, dirname(plain.stateDir)), ...changes };
  return { spec, behind };
}

/** The fixture server.py with these arguments. It is unreadable from its start, or becomes so later if they say so. */
export async function undumpable(
  test: Test,
  words: readonly string[] = [],
  changes: Changes = {},
): Promise<Unreadable> {
  const when = words.includes('unreadable-later') ? [] : ['unreadable'];
  const args = (port: number) => [plainFixture('server.py'), String(port), ...when, ...words];
  return await withPort(test, POWERLESS, (port) => ({ command: 'python3', args: args(port) }), changes);
}

/** memcached, which root in a container starts and which then becomes another user. */
export async function memcached(test: Test, changes: Changes = {}): Promise<Unreadable> {
  const args = (port: number) => ['-u', 'nobody', '-l', '127.0.0.1', '-p', String(port)];
  return await withPort(test, IN_DOCKER, (port) => ({ command: 'memcached', args: args(port) }), changes);
}

/** nginx, whose workers belong to another user while the managed process does not. */
export async function nginx(test: Test, changes: Changes = {}): Promise<Unreadable> {
  const make = (port: number, folder: string) => {
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);
    const server = `server { listen 127.0.0.1:${port}; }`;
    const http = `http { access_log off; ${temporary.join(' ')} ${server} }`;
    const lines = ['daemon off;', 'user nobody nogroup;', 'worker_processes 2;', 'pid nginx.pid;', 'events {}', http];
    writeFileSync(join(folder, 'nginx.conf'), lines.join('\n'));
    chmodSync(folder, 0o755);
    return { command: 'nginx', args: ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'] };
  };
  return await withPort(test, IN_DOCKER, make, changes);
}

/** A copy of redis-server that another user starts and to which `give` grants more privileges than that user has. */
async function powerfulRedis(test: Test, give: (copy: string) => void, changes: Changes): Promise<Unreadable> {
  const make = (port: number, folder: string) => {
    const command = join(folder, 'redis-server');
    copyFileSync(whereIs('redis-server'), command);
    chmodSync(command, 0o755);
    give(command);
    chownSync(folder, 65_534, 65_534);
    return { command, args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder] };
  };
  return await withPort(test, AS_NOBODY, make, changes);
}

export function withFileCapability(test: Test, changes: Changes = {}): Promise<Unreadable> {
  const give = (copy: string) => execFileSync('setcap', ['cap_net_bind_service=ep', copy]);
  return powerfulRedis(test, give, changes);
}

export function withSetUserId(test: Test, changes: Changes = {}): Promise<Unreadable> {
  return powerfulRedis(test, (copy) => chmodSync(copy, 0o4755), changes);
}

/** Requires that the starter is refused when it asks for the descriptor that carries the lock. */
export function assertUnreadable(behind: readonly string[], pid: number): void {
  const [command = '', ...args] = [...behind, 'ls', '-l', `/proc/${pid}/fd/3`];
  const { stderr } = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
  assert.match(stderr, /Permission denied/, `PID ${pid} can be seen`);
}
