/**
 * `npm run demo`: what the library is for, on a real Temporal: start, start again, kill -9, start again, stop.
 * `node examples/demo.mjs --small-server` runs it on the small server that lies beside this file.
 *
 * Everything is in a temp folder and on a free port: a Temporal of your own is not touched.
 */
// @ts-check
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify, styleText } from 'node:util';
import { isLocked, lockHolders, ProcessManager, temporalDevServer } from 'flock-process';

/** @typedef {{ temporal?: string | undefined, stateDir: string, port: number }} Subject */

const thisFile = fileURLToPath(import.meta.url);

if (process.argv[2] === '--as-another-process') {
  await startFromAnotherProcess(JSON.parse(process.argv[3] ?? '{}'));
} else {
  process.exitCode = await demonstrate();
}

/** @returns {Promise<number>} the exit code */
async function demonstrate() {
  const interruption = listenForInterruption();
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'flock-process-demo-')));
  // The library's port locks go to this folder too, so that nothing is left afterwards.
  process.env.TMPDIR = folder;
  const temporal = process.argv.includes('--small-server') ? undefined : findTemporal();
  const subject = { temporal: temporal?.path, stateDir: join(folder, 'state'), port: await freePort() };
  const manager = new ProcessManager(specOf(subject));
  try {
    introduce(manager, temporal);
    await showTheMainJob(manager, subject, interruption);
    return 0;
  } catch (error) {
    if (interruption.aborted) print('\nInterrupted: stopping the server.');
    else print(`  ${styled('red', '✖')} ${error instanceof Error ? error.message : error}`);
    return interruption.aborted ? 130 : 1;
  } finally {
    await manager.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A spec is plain data: any program and its port, or the result of a preset that knows both. @param {Subject} subject */
function specOf({ temporal, stateDir, port }) {
  if (temporal !== undefined) return temporalDevServer({ command: temporal, stateDir, port });
  const smallServer = fileURLToPath(new URL('small-server.mjs', import.meta.url));
  return { name: 'server', command: process.execPath, args: [smallServer, String(port)], stateDir, port };
}

/** @param {ProcessManager} manager @param {Subject} subject @param {AbortSignal} signal */
async function showTheMainJob(manager, subject, signal) {
  const { lockFile } = manager.spec;

  step('start()');
  const first = await timed(() => manager.start({ signal }));
  check(!first.result.reused, 'something ran there already');
  done(`ready after ${first.ms} ms, PID ${first.result.pid}`);
  await showHolder(lockFile, first.result.pid);

  step('start() again');
  const second = await timed(() => manager.start({ signal }));
  check(second.result.reused && second.result.pid === first.result.pid, 'a second server was started');
  done(`the same PID ${second.result.pid} after ${second.ms} ms`);

  step('start() from another process');
  const other = await startInAnotherProcess(subject, signal);
  check(other.reused && other.pid === first.result.pid, 'the other process started a second server');
  done(`the same PID ${other.pid} after ${other.ms} ms, asked by PID ${other.asker}`);

  step(`kill -9 ${first.result.pid}`);
  const killed = await timed(() => killAndWait(first.result.pid, lockFile, signal));
  done(`the kernel freed the lock after ${killed.ms} ms: nothing to clean up`);
  await showHolder(lockFile, undefined);

  step('start() after the crash');
  const third = await timed(() => manager.start({ signal }));
  check(!third.result.reused && third.result.pid !== first.result.pid, 'the dead server was taken for a live one');
  done(`ready after ${third.ms} ms, PID ${third.result.pid}`);
  await showHolder(lockFile, third.result.pid);

  step('stop()');
  const stopped = await timed(() => manager.stop({ signal }));
  check(stopped.result.outcome === 'stopped', `the server was not stopped but "${stopped.result.outcome}"`);
  done(`it ended by itself after ${stopped.ms} ms`);
  await showHolder(lockFile, undefined);
}

/**
 * Ends the server as a crash would, without telling the library. @param {number} pid @param {string} lockFile @param {AbortSignal} signal
 */
async function killAndWait(pid, lockFile, signal) {
  process.kill(pid, 'SIGKILL');
  const end = performance.now() + 10_000;
  while (isLocked(lockFile)) {
    check(performance.now() < end, 'the lock is still held 10 s after the kill');
    await delay(1, undefined, { signal });
  }
}

/** @param {Subject} subject @param {AbortSignal} signal @returns {Promise<{ asker: number, pid: number, reused: boolean, ms: string }>} */
async function startInAnotherProcess(subject, signal) {
  const args = [thisFile, '--as-another-process', JSON.stringify(subject)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { signal });
  return JSON.parse(stdout);
}

/** @param {Subject} subject */
async function startFromAnotherProcess(subject) {
  const manager = new ProcessManager(specOf(subject));
  const { result, ms } = await timed(() => manager.start());
  console.log(JSON.stringify({ asker: process.pid, pid: result.pid, reused: result.reused, ms }));
}

/** The Temporal CLI on PATH, or else where `npm run setup` puts it. Undefined when none of them runs. */
function findTemporal() {
  const fetched = fileURLToPath(new URL('../.cache/temporal/bin/temporal', import.meta.url));
  const onPath = (process.env.PATH ?? '').split(':').filter(Boolean);
  for (const path of [...onPath.map((folder) => join(folder, 'temporal')), fetched].filter(existsSync)) {
    const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { path, version: stdout.match(/[\d.]+\d/)?.[0] ?? '' };
  }
  return undefined;
}

/** @param {ProcessManager} manager @param {{ path: string, version: string } | undefined} temporal */
function introduce({ spec }, temporal) {
  print(`${styled('bold', 'flock-process: one process, guarded by a kernel lock')}\n`);
  if (temporal === undefined && !process.argv.includes('--small-server'))
    print('No Temporal could be had here, so this is the small server of examples/.\n');
  print(
    `server   ${temporal === undefined ? 'examples/small-server.mjs' : `Temporal ${temporal.version}, ${temporal.path}`}`,
  );
  print(`address  ${spec.host ?? '127.0.0.1'}:${spec.port}`);
  print(`lock     ${spec.lockFile}`);
  print(`me       PID ${process.pid}`);
}

/** @param {string} title */
function step(title) {
  print(`\n${styled('bold', title)}`);
}

/** @param {string} text */
function done(text) {
  print(`  ${styled('green', '✔')} ${text}`);
}

/** Shows which processes hold the lock, according to the kernel. @param {string} lockFile @param {number | undefined} wanted */
async function showHolder(lockFile, wanted) {
  const holders = await lockHolders(lockFile);
  check(holders.join() === (wanted === undefined ? '' : String(wanted)), `the lock is held by PID ${holders.join()}`);
  print(styled('dim', `    lock: ${wanted === undefined ? 'free' : `held by PID ${wanted}, the server itself`}`));
}

/** @param {unknown} isRight @param {string} otherwise */
function check(isRight, otherwise) {
  if (!isRight) throw new Error(otherwise);
}

/** @template T @param {() => Promise<T>} act @returns {Promise<{ result: T, ms: string }>} */
async function timed(act) {
  const start = performance.now();
  const result = await act();
  const ms = performance.now() - start;
  return { result, ms: ms < 10 ? ms.toFixed(1) : ms.toFixed(0) };
}

/** On Ctrl-C, `kill`, or a closed terminal or pipe, gives up the present step and stops the server. */
function listenForInterruption() {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => controller.abort());
  process.stdout.on('error', () => controller.abort());
  return controller.signal;
}

/** @returns {Promise<number>} a TCP port on which nobody listens */
async function freePort() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, '127.0.0.1', () => listening(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((closed) => server.close(closed));
  return port;
}

/** Colours only where they are seen: on a terminal, and not with NO_COLOR. @param {'bold' | 'dim' | 'green' | 'red'} style @param {string} text */
function styled(style, text) {
  return process.stdout.isTTY && process.stdout.hasColors() ? styleText(style, text) : text;
}

/** @param {string} text */
function print(text) {
  process.stdout.write(`${text}\n`);
}
