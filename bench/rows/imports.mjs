/** What `import` and `require` alone cost, measured in whole Node processes. */
// @ts-check
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compare, timed } from '../measure.mjs';
import { peerFile } from '../peers.mjs';
import { makeFolder } from '../surroundings.mjs';

/** The package as import and as require find it; the peer is CommonJS in both cases. */
const OURS = {
  import: fileURLToPath(import.meta.resolve('flock-process')),
  require: createRequire(import.meta.url).resolve('flock-process'),
};
const PEER = peerFile('proper-lockfile/index.js');

/** @typedef {'import' | 'require'} LoadedBy */

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureImports({ rounds }) {
  return [await measure('import', { rounds }), await measure('require', { rounds })];
}

/** @param {LoadedBy} by @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row>} */
async function measure(by, { rounds }) {
  const folder = makeFolder(`${by}s`);
  /** @param {string} name @param {string} [file] */
  const script = (name, file) => {
    const path = join(folder, `${name.replaceAll(/\W/g, '-')}.${by === 'import' ? 'mjs' : 'cjs'}`);
    writeFileSync(path, file === undefined ? '' : lineThatLoads(file, by));
    return { name, once: () => timed(() => runToEnd(path)) };
  };
  const contestants = [script('empty script'), script('flock-process', OURS[by]), script('proper-lockfile', PEER)];
  return {
    what: by,
    unit: 'ms',
    subject: 'flock-process',
    reference: 'empty script',
    samples: await compare(contestants, { rounds: rounds * 2 }),
    limit: { times: 1.15 },
  };
}

/** @param {string} file @param {LoadedBy} by */
function lineThatLoads(file, by) {
  return by === 'import'
    ? `await import(${JSON.stringify(pathToFileURL(file).href)});\n`
    : `require(${JSON.stringify(file)});\n`;
}

/** @param {string} file */
function runToEnd(file) {
  const { status, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
