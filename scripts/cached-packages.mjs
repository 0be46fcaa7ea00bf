/** Packages of the npm registry that a check runs and nobody depends on: each is fetched once, into .cache/packages. */
// @ts-check
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun } from './run-program.mjs';

const cache = fileURLToPath(new URL('../.cache', import.meta.url));

/**
 * @param {string} name
 * @param {string} version
 * @param {{ installer?: string, besides?: readonly string[] | undefined }} options `installer`: its own script, which puts a
 *   binary of the platform in its place; `besides`: packages that it needs beside it, `NAME@VERSION`
 * @returns {Promise<string>} the folder whose node_modules has the package, and whose node_modules/.bin its programs
 */
export async function cachedPackage(name, version, { installer, besides = [] } = {}) {
  const folder = join(cache, 'packages', `${name.replace('/', '-')}@${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(join(cache, 'packages'), { recursive: true });
  // In a folder of its own first: an aborted fetch, or another one at the same time, leaves nothing half done.
  const fetched = mkdtempSync(join(cache, 'packages', 'fetch-'));
  try {
    writeFileSync(join(fetched, 'package.json'), '{ "private": true }\n');
    const options = { cwd: fetched, env: process.env };
    const words = ['install', '--ignore-scripts', '--no-package-lock', `${name}@${version}`, ...besides];
    await mustRun('npm', words, options);
    if (installer !== undefined) {
      await mustRun(process.execPath, [installer], { ...options, cwd: join(fetched, 'node_modules', name) });
    }
    chmodSync(fetched, 0o755); // also for a test's subject that is another user
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
    // ENOTEMPTY, EEXIST: another one was quicker, and its package is as good as ours.
    if (!existsSync(folder)) throw error;
  }
}
