/**
 * The row "without /proc" of `npm run test:matrix`: smoke tests in a mount namespace whose /proc is empty, where every Node process
 * pretends to be on macOS, so that only the portable branch can work. ps(1) and lsof(1), which on Linux read /proc themselves, run in the
 * namespace that has it, and their calls are counted.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProgram } from './run-program.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** Arguments of `npm test` that choose test files which need nothing that only Linux has, and no bound that only /proc can keep. */
const PORTABLE_TESTS = [
  'lock/acquire',
  'lock/hand-over',
  'lock/is-locked',
  'lock/wait.test',
  'lock/worker',
  'process/start-race',
  'process/status.test',
  'process/stop.test',
  'process/supervise-stop',
  'process/tied-killed-owner',
  'process/users.test',
];

const PROGRAMS = ['ps', 'lsof'];

const TIMEOUT_MS = 600_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const preload = join(root, 'test/fixtures/on-darwin.cjs');

/** The reason why this cannot be tested here: the root of a container may not mount, and other users never may. */
export function whyNotWithoutProc() {
  if (process.platform !== 'linux') return 'needs Linux';
  return spawnSync('unshare', ['--mount', 'true']).status === 0
    ? undefined
    : 'needs root, and the capability sys_admin';
}

/** @returns {Promise<{ output: string, exitCode: number | null, calls: Record<string, number>, leftovers: number }>} */
export async function testWithoutProc() {
  const run = beginTestRun();
  const [programs, mounted] = [join(run.folder, 'programs'), join(run.folder, 'mounted')];
  mkdirSync(join(programs, 'real'), { recursive: true });
  mkdirSync(mounted);
  writeFileSync(join(programs, 'calls'), '');
  // Some tests run their subject as another user.
  for (const [path, mode] of /** @type {const} */ ([
    [programs, 0o755],
    [join(programs, 'calls'), 0o666],
  ]))
    chmodSync(path, mode);
  for (const name of PROGRAMS) {
    copyFileSync(join(root, 'scripts/with-proc.sh'), join(programs, name));
    symlinkSync(whereIs(name), join(programs, 'real', name));
  }
  symlinkSync(join(mounted, 'proc', String(process.pid), 'ns/mnt'), join(programs, 'namespace'));
  const env = {
    ...run.environment,
    PATH: [programs, process.env.PATH].join(delimiter),
    NODE_OPTIONS: `--require ${preload}`,
    NODE_TEST_CONTEXT: undefined,
    CI: undefined, // the full counts are for the whole suite
  };
  const hidden = ['--mount', '--propagation', 'private', join(root, 'scripts/without-proc.sh'), mounted];
  const words = [...hidden, process.execPath, join(root, 'scripts/test.mjs'), ...PORTABLE_TESTS];
  try {
    const { exitCode, stdout, stderr } = await runProgram('unshare', words, { cwd: root, env, timeoutMs: TIMEOUT_MS });
    const lines = readFileSync(join(programs, 'calls'), 'utf8').split('\n');
    const calls = Object.fromEntries(PROGRAMS.map((name) => [name, lines.filter((line) => line === name).length]));
    return { output: `${stdout}${stderr}`, exitCode, calls, leftovers: await endTestRun(run) };
  } catch (error) {
    await endTestRun(run);
    throw error;
  }
}

/** @param {string} program */
function whereIs(program) {
  const { stdout } = spawnSync('/bin/sh', ['-c', 'command -v "$0"', program], { encoding: 'utf8' });
  if (stdout.trim() === '') throw new Error(`${program} is not on PATH`);
  return stdout.trim();
}
