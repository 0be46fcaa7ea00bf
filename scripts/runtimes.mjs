/** The other runtimes that the library is tested in, and the permissions that Deno needs for it. */
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

/** The permissions for locks, as docs/limits.md lists them. @param {string} folder the folder of the lock files @returns {Permissions} */
export function toLock(folder) {
  const path = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  return { read: [folder, path.join(',')], write: [folder], run: ['perl'], env: [], sys: ['osUptime', 'uid'] };
}

/** The permissions for everything else: Deno allows access to /proc only to programs that may do everything. @type {Permissions} */
export const TO_DO_ALL = { read: [], write: [], run: [], env: [], sys: [], net: [], ffi: [], import: [] };

/**
 * Every set of permissions that lacks one of them.
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
