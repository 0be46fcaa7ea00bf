/** The package managers that install the package, and how each builds the addon, or does not build it. */
// @ts-check
import { delimiter, dirname, join } from 'node:path';
import { cachedPackage } from './cached-packages.mjs';
import { currentNode, headersOf, nodeOf } from './node-versions.mjs';
import { userEnvironment } from './run-program.mjs';

/**
 * @typedef {object} PackageManager
 * @property {string} name
 * @property {string} package
 * @property {string} version
 * @property {string} [installer] see cachedPackage
 * @property {22} [leastNode] the Node that it needs, where that is newer than ours
 * @property {(store: string) => Record<string, string>} [files] of each project
 * @property {readonly string[]} blocked the command that installs a tarball and builds nothing
 * @property {readonly string[]} built the command that installs a tarball and builds the addon
 * @property {Record<string, unknown>} [approval] in package.json, when it builds
 * @property {RegExp} [complaint] what an installation that built nothing says when it ends with another exit code than 0
 * @property {readonly string[]} [runner] the command that runs a program of the project, before the name of the program
 */

/** The npm whose node-gyp also builds the addon for each Node version. */
export const NPM_11 = '11.21.2';

/** This bun is also a runtime that the library is tested in. */
export const BUN = '1.4.5';

/** Otherwise pnpm would use in one project what it has built for another, blocked or not. @param {string} store */
const pnpmFiles = (store) => ({ 'pnpm-workspace.yaml': `storeDir: ${join(store, 'pnpm')}\nsideEffectsCache: false\n` });

/** @param {'node-modules' | 'pnp'} linker */
const yarnFiles = (linker) => () => ({ 'yarn.lock': '', '.yarnrc.yml': `nodeLinker: ${linker}\n` });

const NPM = { name: 'npm', package: 'npm', built: ['npm', 'install'] };
const PNPM = {
  name: 'pnpm',
  package: 'pnpm',
  files: pnpmFiles,
  blocked: ['pnpm', 'add'],
  built: ['pnpm', 'add', '--allow-build=fs-ext'],
};
const YARN = {
  package: '@yarnpkg/cli-dist',
  version: '4.18.1',
  blocked: ['yarn', 'add'],
  built: ['yarn', 'add'],
  approval: { dependenciesMeta: { 'fs-ext': { built: true } } },
  runner: ['yarn', 'node'],
};

/** @type {readonly PackageManager[]} */
export const PACKAGE_MANAGERS = [
  { ...NPM, version: NPM_11, blocked: ['npm', 'install', '--ignore-scripts'] },
  {
    ...NPM,
    version: '12.2.0',
    leastNode: 22,
    blocked: ['npm', 'install'],
    approval: { allowScripts: { 'fs-ext': true } },
  },
  { ...PNPM, version: '10.34.9' },
  { ...PNPM, version: '12.21.0', installer: 'install.js', complaint: /ERR_PNPM_IGNORED_BUILDS/ },
  { ...YARN, name: 'yarn', files: yarnFiles('node-modules') },
  { ...YARN, name: 'yarn PnP', files: yarnFiles('pnp') },
  {
    name: 'bun',
    package: 'bun',
    version: BUN,
    installer: 'install.js',
    blocked: ['bun', 'add'],
    built: ['bun', 'add'],
    approval: { trustedDependencies: ['fs-ext'] },
  },
];

/** @typedef {{ node: import('./node-versions.mjs').NodeVersion, programs: string, files: Record<string, string>, env: NodeJS.ProcessEnv }} Surroundings */

/**
 * Fetches the package manager, and the Node version that it needs.
 * @param {PackageManager} manager
 * @param {{ store: string, temporaryFolder: string }} options `store`: where the manager keeps what it fetches
 * @returns {Promise<Surroundings>} `programs`: the folder of the manager, which is first on PATH, before that Node
 */
export async function surroundingsOf(manager, { store, temporaryFolder }) {
  const { leastNode = currentNode.major } = manager;
  const node = currentNode.major < leastNode ? await nodeOf(/** @type {22} */ (leastNode)) : currentNode;
  const { installer } = manager;
  const folder = await cachedPackage(manager.package, manager.version, installer === undefined ? {} : { installer });
  const programs = join(folder, 'node_modules/.bin');
  // A user does not have what `npm run` put on PATH, such as its node-gyp.
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  const env = userEnvironment({
    ...headersOf(node),
    TMPDIR: temporaryFolder,
    PATH: [programs, dirname(node.binary), ...path].join(delimiter),
    YARN_GLOBAL_FOLDER: join(store, 'yarn'),
    YARN_ENABLE_TELEMETRY: '0',
    BUN_INSTALL_CACHE_DIR: join(store, 'bun'),
  });
  return { node, programs, files: manager.files?.(store) ?? {}, env };
}
