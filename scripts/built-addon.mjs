/** Builds fs-ext for another Node than the one that it is built for in node_modules. */
// @ts-check
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedPackage } from './cached-packages.mjs';
import { NPM_11 } from './package-managers.mjs';
import { mustRun } from './run-program.mjs';

const source = fileURLToPath(new URL('../node_modules/fs-ext', import.meta.url));

/**
 * @param {string} binary the path of that Node
 * @param {{ folder: string, env: NodeJS.ProcessEnv }} options `folder` is created; it must be in a node_modules
 */
export async function buildAddon(binary, { folder, env }) {
  cpSync(source, folder, { recursive: true });
  rmSync(join(folder, 'build'), { recursive: true, force: true });
  const npm = await cachedPackage('npm', NPM_11);
  const gyp = join(npm, 'node_modules/npm/node_modules/node-gyp/bin/node-gyp.js');
  await mustRun(binary, [gyp, 'rebuild'], { cwd: folder, env });
  await mustRun(binary, ['-e', 'require("./fs-ext").flockSync'], { cwd: folder, env });
}
