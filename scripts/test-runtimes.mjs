/**
 * The rows "Bun", "Deno" and "start race" of `npm run test:matrix`: agents of each runtime and of Node use the packed package in a
 * project of their own. A row passes when every case has run to its end and no process is left.
 */
// @ts-check
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon } from './built-addon.mjs';
import { headersOf, nodeOf } from './node-versions.mjs';
import { mustRun, userEnvironment } from './run-program.mjs';
import { RuntimeAgent } from './runtime-agent.mjs';
import { LOCK_CASES, PROCESS_CASES, race } from './runtime-cases.mjs';
import { isHeld, lockOf, redis } from './runtime-evidence.mjs';
import { bun, deno, TO_DO_ALL, toLock, withoutEach } from './runtimes.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';
import { unpackLibrary } from './test-runners.mjs';

/** @typedef {import('./runtimes.mjs').Runtime} Runtime */
/** @typedef {import('./runtimes.mjs').Permissions} Permissions */
/** @typedef {{ label: string, passed: number, failed: number }} Counts */
/** @typedef {import('./runtime-cases.mjs').Cases} Cases */
/** @typedef {{ row: string, title: string, work: (folder: string, agents: RuntimeAgent[]) => Promise<void> }} Case what it adds to `agents` is killed in the end */
/** @typedef {(agents: RuntimeAgent[], permissions: Permissions, changes?: NodeJS.ProcessEnv) => Promise<RuntimeAgent>} Start one that has loaded the library */

/** The Node version whose addon has the ABI that Bun asks for: `process.versions.modules` of both is the same. */
const NODE_WITH_ABI_OF_BUN = 26;

/** There are more workers than processors, because much of the work is waiting. */
const WORKERS = 4;

const RACE_ROUNDS = 3;

const root = fileURLToPath(new URL('..', import.meta.url));

/** Prints a line for each case. @returns {Promise<Counts[]>} of each row */
export async function tryRuntimes() {
  const run = beginTestRun();
  /** @type {Map<string, Counts>} */
  const counts = new Map();
  try {
    const waiting = await allCases(run);
    for (const { row } of waiting) counts.set(row, { label: row, passed: 0, failed: 0 });
    const worker = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const ofRow = /** @type {Counts} */ (counts.get(next.row));
        if (await tryCase(next, mkdtempSync(join(run.folder, 'case-')))) ofRow.passed++;
        else ofRow.failed++;
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
  } finally {
    const leftovers = await endTestRun(run);
    if (leftovers > 0) counts.set('leftovers', { label: 'leftovers', passed: 0, failed: leftovers });
  }
  return [...counts.values()];
}

/** @param {Case} subject @param {string} folder @returns {Promise<boolean>} */
async function tryCase({ row, title, work }, folder) {
  const start = performance.now();
  /** @type {RuntimeAgent[]} */
  const agents = [];
  try {
    await work(folder, agents);
    console.log(`✔ ${row}: ${title}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return true;
  } catch (error) {
    console.error(`✖ ${row}: ${title}\n  ${error instanceof Error ? error.stack : error}`);
    return false;
  } finally {
    await Promise.all(agents.map((agent) => agent.kill()));
  }
}

/** @param {import('./test-run.mjs').TestRun} run @returns {Promise<Case[]>} */
async function allCases({ folder, environment }) {
  const [project, projectOfBun] = [join(folder, 'project'), join(folder, 'project-of-bun')];
  const [ofBun, ofDeno] = [await bun(), await deno()];
  await makeProject(project);
  cpSync(project, projectOfBun, { recursive: true, verbatimSymlinks: true });
  await buildAddonOfBun(join(projectOfBun, 'node_modules/flock-process/node_modules'), ofBun);

  const none = { DEBUG: undefined, DENO_DIR: join(folder, 'deno'), DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' };
  const starter = (/** @type {Runtime} */ { binary, options }, /** @type {string} */ cwd) => {
    /** @type {Start} */
    return async (agents, permissions, changes = {}) => {
      const env = { ...environment, ...none, ...changes };
      const agent = new RuntimeAgent([binary, ...options(permissions)], { cwd, env });
      agents.push(agent);
      await agent.answer();
      return agent;
    };
  };
  const startNode = starter({ name: 'Node', binary: process.execPath, options: () => [] }, project);
  const startBun = starter(ofBun, projectOfBun);
  const startDeno = starter(ofDeno, project);
  const temporal = temporalBinary();

  /** @param {string} row @param {Start} start @param {Cases} cases @param {(folder: string) => Permissions} allowed */
  const casesOf = (row, start, cases, allowed) =>
    Object.entries(cases).map(([title, work]) => {
      /** @type {Case['work']} */
      const inFolder = async (folder, agents) => {
        const agent = (/** @type {NodeJS.ProcessEnv | undefined} */ changes) => start(agents, allowed(folder), changes);
        await work({ agent, nodeAgent: () => startNode(agents, {}), folder, temporal });
      };
      return { row, title, work: inFolder };
    });
  return [
    ...[LOCK_CASES, PROCESS_CASES].flatMap((cases) => casesOf(ofBun.name, startBun, cases, () => ({}))),
    ...casesOf(ofDeno.name, startDeno, LOCK_CASES, toLock),
    ...casesOf(ofDeno.name, startDeno, PROCESS_CASES, () => TO_DO_ALL),
    { row: ofDeno.name, title: 'a lock takes each of its permissions', work: lockWithLess(startDeno) },
    { row: ofDeno.name, title: 'a start takes each of its permissions', work: startWithLess(startDeno) },
    {
      row: 'start race',
      title: `Node, Bun and Deno, ${RACE_ROUNDS} rounds`,
      work: async (folder, agents) => {
        const starts = [1, 2].flatMap(() => [
          startNode(agents, {}),
          startBun(agents, {}),
          startDeno(agents, TO_DO_ALL),
        ]);
        const racers = await Promise.all(starts);
        for (let round = 0; round < RACE_ROUNDS; round++) await race(racers, folder);
        await Promise.all(racers.map((agent) => agent.end()));
      },
    },
  ];
}

/** @param {string} project */
async function makeProject(project) {
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, 'flock-process'), { recursive: true });
  // Deno imports from node_modules only packages that a package.json names.
  writeFileSync(join(project, 'package.json'), '{ "private": true, "dependencies": { "flock-process": "*" } }\n');
  cpSync(join(root, 'scripts/consumer/runtimes/agent.mjs'), join(project, 'agent.mjs'));
  await unpackLibrary(dirname(project), modules);
}

/**
 * Builds an addon that Bun could load, as it could not load the addon for the Node of this check. With it the rows show that the library
 * does not load the addon in Bun.
 * @param {string} modules
 * @param {Runtime} runtime
 */
async function buildAddonOfBun(modules, { name, binary }) {
  const node = await nodeOf(NODE_WITH_ABI_OF_BUN);
  const env = userEnvironment(headersOf(node));
  const abis = await Promise.all(
    [node.binary, binary].map((it) => mustRun(it, ['-p', 'process.versions.modules'], { cwd: modules, env })),
  );
  const [ofNode, ofRuntime] = abis.map(({ stdout }) => stdout.trim());
  assert.equal(ofNode, ofRuntime, `${name} asks for addons of another Node: set NODE_WITH_ABI_OF_BUN`);
  rmSync(join(modules, 'fs-ext'));
  symlinkSync(join(root, 'node_modules/nan'), join(modules, 'nan'));
  await buildAddon(node.binary, { folder: join(modules, 'fs-ext'), env });
}

/** @param {Start} start @returns {Case['work']} */
function lockWithLess(start) {
  return async (folder, agents) => {
    const path = join(folder, 'job.lock');
    for (const { missing, left } of withoutEach(toLock(folder))) {
      const attempt = async () => await (await start(agents, left)).call('acquire', path);
      await assert.rejects(attempt(), new RegExp(`--allow-${missing}`), `without ${missing}`);
    }
  };
}

/** @param {Start} start @returns {Case['work']} */
function startWithLess(start) {
  return async (folder, agents) => {
    const spec = await redis(folder, 'detached');
    for (const { missing, left } of withoutEach(TO_DO_ALL)) {
      const attempt = async () => await (await start(agents, left)).call('start', spec);
      await assert.rejects(attempt(), new RegExp(`--allow-(all|${missing})`), `without ${missing}`);
      assert.equal(await isHeld(lockOf(spec)), false, `without ${missing}`);
    }
  };
}

/** The Temporal CLI on PATH, or else the one that the set-up fetched. */
function temporalBinary() {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'));
  const found = [...onPath, join(root, '.cache/temporal/bin/temporal')].find(existsSync);
  if (found === undefined) throw new Error('there is no temporal, on PATH or in .cache: "npm run setup" fetches it');
  return found;
}
