/** The other runtimes that the library is tried in, and what Deno has to allow it. */
// @ts-check
import { delimiter, isAbsolute, join } from 'node:path';
import { cachedPackage } from './cached-packages.mjs';
import { BUN } from './package-managers.mjs';

const DENO = '2.9.6';

/** @typedef {Record<string, readonly string[]>} Permissions by the name of the flag: for what; nothing is for all */

/**
 * @typedef {object} Runtime
 * @property {string} name with its version
 * @property {string} binary
 * @property {(permissions: Permissions) => string[]} options
 */

/** @returns {Promise<Runtime>} */
export async function bun() {
  const folder = await cachedPackage('bun', BUN, { installer: 'install.js' });
  return { name: `Bun ${BUN}`, binary: join(folder, 'node_modules/bun/bin/bun.exe'), options: () => [] };
}

/** @returns {Promise<Runtime>} */
export async function deno() {
  const folder = await cachedPackage('deno', DENO, { installer: 'install.cjs' });
  const options = (/** @type {Permissions} */ permissions) => ['run', '--no-prompt', ...flagsOf(permissions)];
  return { name: `Deno ${DENO}`, binary: join(folder, 'node_modules/deno/deno'), options };
}

/** @param {Permissions} permissions */
function flagsOf(permissions) {
  return Object.entries(permissions).map(
    ([name, places]) => `--allow-${name}${places.length > 0 ? `=${places.join(',')}` : ''}`,
  );
}

/** As docs/limits.md has it: for locks. @param {string} folder where the lock files are @returns {Permissions} */
export function toLock(folder) {
  const path = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  return { read: [folder, path.join(',')], write: [folder], run: ['perl'], env: [], sys: ['osUptime', 'uid'] };
}

/** And for everything else: Deno allows /proc to nobody who may not do everything. @type {Permissions} */
export const TO_DO_ALL = { read: [], write: [], run: [], env: [], sys: [], net: [], ffi: [], import: [] };

/**
 * Each set that has one of them less.
 * @param {Permissions} permissions
 * @returns {{ missing: string, left: Permissions }[]} `missing`: the name of the flag
 */
export function withoutEach(permissions) {
  return Object.entries(permissions).flatMap(([missing, places]) => {
    const { [missing]: _, ...others } = permissions;
    if (places.length < 2) return [{ missing, left: others }];
    return places.map((place) => ({ missing, left: { ...others, [missing]: places.filter((it) => it !== place) } }));
  });
}
