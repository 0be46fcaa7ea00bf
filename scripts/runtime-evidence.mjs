/** Facts about a server and a lock from flock(1), the kernel's tables and the server itself, whatever the runtime says. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './free-port.mjs';
import { runProgram } from './run-program.mjs';

/** @typedef {{ name: string, command: string, args: string[], port: number, stateDir: string, lifetime: string }} RedisSpec */

const MUST_HAPPEN_MS = 20_000;

/** The exit code of flock(1) when the lock is refused. */
const REFUSED = 99;

/** @param {string} folder @param {'detached' | 'tied' | 'shared'} lifetime @returns {Promise<RedisSpec>} */
export async function redis(folder, lifetime) {
  const port = await freePort();
  const stateDir = mkdtempSync(join(folder, 'state-'));
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir];
  return { name: 'redis', command: 'redis-server', args, port, stateDir, lifetime };
}

/** @param {{ stateDir: string }} spec */
export function lockOf({ stateDir }) {
  return join(stateDir, 'redis.lock');
}

/** @param {{ port: number }} server @returns {Promise<string>} its answer */
export async function ping({ port }) {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = await once(socket, 'data');
    return answer.trim();
  } finally {
    socket.destroy();
  }
}

/** Whether the process lives; a zombie counts as dead. @param {number} pid */
export function isAlive(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    // ENOENT, ESRCH: the process is gone.
    return false;
  }
}

/** @param {number} pid */
export async function killServer(pid) {
  process.kill(pid, 'SIGKILL');
  await eventually('the end of the server', () => !isAlive(pid));
}

/** Whether the server is gone and its lock is free. @param {RedisSpec} spec @param {number} pid */
export async function isGone(spec, pid) {
  await eventually('the end of the server', () => !isAlive(pid));
  await eventually('a free lock', async () => !(await isHeld(lockOf(spec))));
}

/** @param {string} path */
export async function isHeld(path) {
  const options = { cwd: '/', env: process.env, timeoutMs: MUST_HAPPEN_MS };
  const { exitCode, stderr } = await runProgram('flock', ['-n', '-x', '-E', String(REFUSED), path, 'true'], options);
  if (exitCode !== 0 && exitCode !== REFUSED) throw new Error(`flock: ${stderr}`);
  return exitCode === REFUSED;
}

/** @param {string} path @returns {Promise<() => Promise<void>>} a function that ends the holder */
export async function holdByFlock(path) {
  const holder = spawn('flock', ['-x', path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  await once(holder.stdout, 'data');
  return async () => {
    holder.stdin.end();
    await exited;
  };
}

/**
 * Whether a process is blocked in flock(2) on the file: `1: -> FLOCK  ADVISORY  WRITE 4078 fe:00:9979331 0 EOF`.
 * @param {string} path
 */
export function isWaitedFor(path) {
  const { ino } = statSync(path);
  return new RegExp(`-> FLOCK .*:${ino} `).test(readFileSync('/proc/locks', 'latin1'));
}

/** @param {string} what @param {() => boolean | Promise<boolean>} look */
export async function eventually(what, look) {
  const end = performance.now() + MUST_HAPPEN_MS;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`not within ${MUST_HAPPEN_MS} ms: ${what}`);
    await delay(20);
  }
}
