/** What the rows use: folders, ports, programs that are ended with the bench, and facts about the machine. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Whatever takes longer than this hangs. */
const PATIENCE_MS = 30_000;

/** A folder that is removed together with that of the run. @param {string} name */
export function makeFolder(name) {
  mkdirSync(tmpdir(), { recursive: true });
  return mkdtempSync(join(tmpdir(), `${name}-`));
}

/** @param {number} port */
export function redisArguments(port) {
  return ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir()];
}

/** @type {Set<import('node:child_process').ChildProcess>} */
const programs = new Set();

/**
 * @param {string} command
 * @param {readonly string[]} [args]
 * @param {import('node:child_process').SpawnOptions} [options]
 */
export function startProgram(command, args = [], options = {}) {
  const program = spawn(command, args, { stdio: 'ignore', ...options });
  programs.add(program);
  program.once('exit', () => programs.delete(program));
  return program;
}

/** @param {import('node:child_process').ChildProcess} program @param {NodeJS.Signals} [signal] */
export async function endProgram(program, signal = 'SIGKILL') {
  if (program.exitCode !== null || program.signalCode !== null) return;
  const exit = once(program, 'exit');
  program.kill(signal);
  await exit;
}

export async function endPrograms() {
  await Promise.all([...programs].map((program) => endProgram(program)));
}

/**
 * PID of the redis-server that answers on the port, undefined when none does. @param {number} port @returns {Promise<number |
 * undefined>}
 */
export async function redisPid(port) {
  const socket = connect({ port, host: '127.0.0.1' }).setEncoding('utf8');
  try {
    await once(socket, 'connect');
    socket.write('INFO server\r\n');
    let answer = '';
    for await (const text of socket) {
      answer += text;
      const found = /process_id:(\d+)\r/.exec(answer);
      if (found !== null) return Number(found[1]);
    }
  } catch {
    // ECONNREFUSED, ECONNRESET: no server listens, or it has just ended.
  } finally {
    socket.destroy();
  }
  return undefined;
}

/**
 * Polls every millisecond, as a hand-written loop does.
 * @param {number} port
 * @param {number} [formerPid] a server that is exiting and does not count
 */
export async function untilRedisAnswers(port, formerPid) {
  return await eventually(`redis on port ${port}`, async () => {
    const pid = await redisPid(port);
    return pid === formerPid ? undefined : pid;
  });
}

/** Polls every millisecond until the port accepts connections. @param {number} port */
export async function untilPortOpen(port) {
  await eventually(`port ${port}`, () => accepts(port));
}

/** @param {number} port @returns {Promise<true | undefined>} */
async function accepts(port) {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

/**
 * @template T
 * @param {string} what
 * @param {() => Promise<T | undefined> | T | undefined} look
 * @returns {Promise<T>}
 */
export async function eventually(what, look) {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`no ${what} within ${PATIENCE_MS} ms`);
    await delay(1);
  }
}

/** Resident memory of a process, in MiB. @param {number} pid */
export function residentMemory(pid) {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes) / 1024;
}

export function machineLine() {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  const load = loadavg()[0]?.toFixed(1);
  const date = new Date().toISOString().slice(0, 16).replace('T', ' ');
  return `${model}, ${availableParallelism()} cores, ${memory} GiB, ${process.platform} ${release()}, Node ${process.version}; load at the start ${load}; ${date} UTC`;
}
