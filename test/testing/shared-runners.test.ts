/** The test files of a whole run share one real Temporal, under each supported test runner. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { bundleWorkflowCode } from '@temporalio/worker';
import { isLocked } from '../../src/index.js';
import type { Report, TestRun } from '../fixtures/temporal-file.js';
import { fixture, projectRoot } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { rounds } from '../helpers/resources.js';
import { lockFileOf, nothingIsLeft, ownKey, sharedFolder } from '../helpers/shared.js';
import { temporalBinary } from '../helpers/temporal.js';
import { eventually, MUST_HAPPEN_MS } from '../helpers/waiting.js';

const FILES = rounds(8, { least: 2 });

/** The number of test files in a run that is killed. */
const KILLED_FILES = Math.min(FILES, 4);

/** Runners and the client's packages load slowly: eight files took 26 s on a machine that did nothing else. */
const RUN_WITHIN_MS = 270_000;

interface RunOptions {
  count: number;
  awaited: number;
  sideBySide?: number;
  lingerMs?: number;
}

type Runner = 'node --test' | 'vitest forks' | 'vitest threads';

let bundle = '';
before(async () => {
  const logger = { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error: console.error };
  bundle = (await bundleWorkflowCode({ workflowsPath: fixture('workflows'), logger })).code;
});

/**
 * Writes the test files to a folder inside the project, where their imports resolve, and starts the runner in a group
 * of its own.
 */
function startRun(t: TestContext, runner: Runner, { count, awaited, sideBySide = count, lingerMs }: RunOptions) {
  const root = mkdtempSync(join(projectRoot, 'build', 'run-'));
  t.after(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
  const folder = join(root, 'reports');
  mkdirSync(folder);
  writeFileSync(join(root, 'bundle.js'), bundle);
  const namespaces = Array.from({ length: count }, (_, index) => `file-${index + 1}`);
  const command = temporalBinary();
  const run: TestRun = {
    key: ownKey(),
    command,
    namespaces,
    bundle: join(root, 'bundle.js'),
    folder,
    awaited,
    lingerMs,
  };
  const files = namespaces.map((namespace) => {
    const path = join(root, `${namespace}.test.mjs`);
    writeFileSync(path, testFile(runner, run, namespace));
    return path;
  });
  writeFileSync(
    join(root, 'vitest.config.mjs'),
    'export default { test: { server: { deps: { external: [/build/] } } } };\n',
  );
  const vitest = ['run', '--root', root, `--maxWorkers=${count}`];
  const args = {
    'node --test': ['--test', `--test-concurrency=${sideBySide}`, ...files],
    'vitest forks': [join(projectRoot, 'node_modules/vitest/vitest.mjs'), ...vitest, '--pool=forks'],
    'vitest threads': [join(projectRoot, 'node_modules/vitest/vitest.mjs'), ...vitest, '--pool=threads'],
  }[runner];
  // With this variable of an outer run, a runner would take itself for one of that run's test files.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, CI: 'true' };
  const program = startProgram(t, process.execPath, args, { cwd: root, env, detached: true });
  t.after(() => killGroup(program));
  return { program, key: run.key, folder };
}

function testFile(runner: Runner, run: TestRun, namespace: string): string {
  const [words, body] = [[run, namespace].map((word) => JSON.stringify(word)).join(', '), fixture('temporal-file')];
  return `import { test } from '${runner === 'node --test' ? 'node:test' : 'vitest'}';
import { runTestFile } from '${body}';
test('a workflow', ${runner === 'node --test' ? '' : `{ timeout: ${RUN_WITHIN_MS} }, `}() => runTestFile(${words}));
`;
}

function reportsIn(folder: string): Report[] {
  return readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8') || '{}') as Report);
}

/** Requires that one Temporal was started in all, and that every workflow completed on it. */
function oneServedAll(folder: string): void {
  const reports = reportsIn(folder);
  assert.equal(reports.length, FILES);
  assert.equal(new Set(reports.map(({ pid }) => pid)).size, 1);
  assert.equal(reports.filter(({ reused }) => !reused).length, 1);
  const results = reports.map(({ result }) => result).sort();
  assert.deepEqual(results, Array.from({ length: FILES }, (_, index) => `Hello Ada, from file-${index + 1}`).sort());
}

function killGroup({ pid }: Program): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Temporal chooses further ports itself, and exits when another process was quicker at one of them: its log says so.
 */
const LOST_A_PORT = /^panic: |address already in use/m;

async function completeRun(t: TestContext, runner: Runner, options: Omit<RunOptions, 'count'>) {
  for (let attempt = 1; ; attempt += 1) {
    const { program, key, folder } = startRun(t, runner, { count: FILES, ...options });
    const { exitCode, stdout, stderr } = await program.ended({ withinMs: RUN_WITHIN_MS });
    const output = `${stdout}${stderr}`;
    if (exitCode === 0 || attempt === 3 || !LOST_A_PORT.test(output)) return { key, folder, exitCode, output };
    t.diagnostic('Temporal lost one of its own ports; again');
  }
}

for (const runner of ['node --test', 'vitest forks', 'vitest threads'] as const) {
  test(`${FILES} test files under ${runner} share one Temporal, complete every workflow, and leave nothing`, async (t) => {
    const { key, folder, exitCode, output } = await completeRun(t, runner, { awaited: FILES });
    assert.equal(exitCode, 0, output);
    oneServedAll(folder);
    await nothingIsLeft(key);
    assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
  });

  test(`a run of ${runner} that is killed in the middle leaves nothing`, async (t) => {
    const { program, key, folder } = startRun(t, runner, { count: KILLED_FILES, awaited: KILLED_FILES + 1 });
    await eventually(
      `all test files of ${runner} have begun`,
      () => {
        if (!program.isAlive) throw new Error(`${program.stdout}${program.stderr}`);
        return readdirSync(folder).length === KILLED_FILES;
      },
      { withinMs: RUN_WITHIN_MS, everyMs: 20 },
    );
    killGroup(program);
    await program.exited;
    t.diagnostic(`gone after ${Math.round(await nothingIsLeft(key))} ms`);
  });
}

test(`${FILES} test files of node --test, one after another, share one Temporal that lingers between them, and leave nothing`, async (t) => {
  // Each file loads for seconds before it joins the shared instance.
  const lingerMs = 20_000;
  const options = { awaited: 1, sideBySide: 1, lingerMs };
  const { key, folder, exitCode, output } = await completeRun(t, 'node --test', options);
  assert.equal(exitCode, 0, output);
  oneServedAll(folder);
  const isOver = () => !isLocked(lockFileOf(key));
  await eventually('the linger time is over', isOver, { withinMs: lingerMs + MUST_HAPPEN_MS });
  await nothingIsLeft(key);
});
