/**
 * The surroundings of one test run: a folder that is TMPDIR for every program that it starts, and a mark in their environment. A process
 * that still runs afterwards and shows either of them is a leftover. A process may have overwritten its environment (redis does) or
 * closed its files, but hardly both.
 */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** @typedef {{ folder: string, mark: string, environment: NodeJS.ProcessEnv }} TestRun */
/** @typedef {{ pid: number, startTime: string, command: string, reason: string }} Leftover */

const root = fileURLToPath(new URL('..', import.meta.url));

const MARK_VARIABLE = 'FLOCK_PROCESS_TEST_RUN';

/** How long the processes that were ended last may take to be gone: Temporal needs 1.5 s, a busy machine more. */
const GONE_WITHIN_MS = Number(process.env.FLOCK_PROCESS_TEST_GONE_WITHIN_MS ?? 10_000);

/** @returns {TestRun} */
export function beginTestRun() {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'flock-process-run-')));
  chmodSync(folder, 0o1777); // as for /tmp itself: some tests run their subject as another user
  const id = basename(folder);
  return {
    folder,
    mark: `${MARK_VARIABLE}=${id}`,
    environment: { ...process.env, TMPDIR: folder, [MARK_VARIABLE]: id },
  };
}

/**
 * Waits a moment for the last processes to end, prints and ends those that do not, and removes the folder.
 * @param {TestRun} run
 * @returns {Promise<number>} how many leftovers there were
 */
export async function endTestRun(run) {
  const leftovers = await lastingLeftovers(run);
  if (leftovers.length > 0) console.error(`\n✖ ${leftovers.length} leftover process(es) of this run, ended now:`);
  for (const leftover of leftovers) {
    console.error(`  PID ${leftover.pid}: ${leftover.command} (${leftover.reason})`);
    endLeftover(run, leftover);
  }
  rmSync(run.folder, { recursive: true, force: true, maxRetries: 5 });
  return leftovers.length;
}

/**
 * Runs a Node program in surroundings of its own, and checks what it left behind.
 * @param {readonly string[]} args
 * @returns {Promise<number>} its exit code; 1 when it left a process behind
 */
export async function runNodeInTestRun(args) {
  const run = beginTestRun();
  const program = spawn(process.execPath, args, { stdio: 'inherit', env: run.environment, cwd: root });
  // The terminal sends Ctrl-C to the program as well. Here the signal must not end the check for leftovers.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => program.kill('SIGTERM'));
  const [exitCode] = await once(program, 'exit');
  const leftovers = await endTestRun(run);
  return leftovers > 0 ? 1 : (exitCode ?? 1);
}

/** @param {TestRun} run */
async function lastingLeftovers(run) {
  const end = performance.now() + GONE_WITHIN_MS;
  for (;;) {
    const leftovers = findLeftovers(run);
    if (leftovers.length === 0 || performance.now() > end) return leftovers;
    await delay(50);
  }
}

/** @param {TestRun} run @returns {Leftover[]} empty where there is no /proc */
function findLeftovers(run) {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid)
    .map((pid) => examine(run, pid))
    .filter((leftover) => leftover !== undefined);
}

/**
 * Ends a leftover. Its PID may have been reused since it was found, so it is checked again and killed in the same turn.
 * @param {TestRun} run
 * @param {Leftover} leftover
 */
function endLeftover(run, leftover) {
  if (examine(run, leftover.pid)?.startTime !== leftover.startTime) return;
  try {
    process.kill(leftover.pid, 'SIGKILL');
  } catch (error) {
    console.error(`  PID ${leftover.pid} cannot be ended: ${error}`);
  }
}

/**
 * @param {TestRun} run
 * @param {number} pid
 * @returns {Leftover | undefined} undefined when it is not of this run, a zombie, or gone
 */
function examine(run, pid) {
  try {
    // In "PID (name) state ppid …" the name may contain anything, so the fields are counted from the last parenthesis.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const reason = reasonToBelong(run, pid);
    if (reason === undefined) return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
    return { pid, startTime: fields[19] ?? '', command: command || stat.slice(0, stat.lastIndexOf(')') + 1), reason };
  } catch {
    // ENOENT, ESRCH: the process is gone.
    return undefined;
  }
}

/** @param {TestRun} run @param {number} pid */
function reasonToBelong({ folder, mark }, pid) {
  const proc = `/proc/${pid}`;
  const environment = readable(() => readFileSync(`${proc}/environ`, 'latin1')) ?? '';
  if (environment.split('\0').includes(mark)) return `its environment has ${mark}`;
  const descriptors = (readable(() => readdirSync(`${proc}/fd`)) ?? []).map((fd) => `fd/${fd}`);
  for (const link of ['cwd', 'exe', 'root', ...descriptors]) {
    const target = readable(() => readlinkSync(`${proc}/${link}`));
    if (target !== undefined && (target === folder || target.startsWith(`${folder}/`))) return `${link} is ${target}`;
  }
  return undefined;
}

/** @template T @param {() => T} read @returns {T | undefined} */
function readable(read) {
  try {
    return read();
  } catch {
    // EACCES: the process is another user's. ENOENT, ESRCH: it is gone.
    return undefined;
  }
}
