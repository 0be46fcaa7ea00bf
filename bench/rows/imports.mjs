/** What `import` alone costs: whole Node processes. */
// @ts-check
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compare, timed } from '../measure.mjs';
import { peerFile } from '../peers.mjs';
import { makeFolder } from '../surroundings.mjs';

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureImports({ rounds }) {
  const folder = makeFolder('imports');
  /** @param {string} name @param {string} [module] */
  const script = (name, module) => {
    const file = join(folder, `${name.replaceAll(/\W/g, '-')}.mjs`);
    writeFileSync(file, module === undefined ? '' : `await import(${JSON.stringify(module)});\n`);
    return { name, once: () => timed(() => runToEnd(file)) };
  };
  const contestants = [
    script('empty script', undefined),
    script('flock-process', import.meta.resolve('flock-process')),
    script('proper-lockfile', pathToFileURL(peerFile('proper-lockfile/index.js')).href),
  ];
  return [
    {
      what: 'import',
      unit: 'ms',
      subject: 'flock-process',
      reference: 'empty script',
      samples: await compare(contestants, { rounds: rounds * 2 }),
      limit: { times: 1.4 },
    },
  ];
}

/** @param {string} file */
function runToEnd(file) {
  const { status, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
