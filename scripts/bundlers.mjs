/** The bundlers that take the package in, and the command line by which each makes one file of a program. */
// @ts-check
import { join } from 'node:path';

/** @typedef {{ entry: string, output: string, isMinified: boolean }} Order `output`: a folder */
/** @typedef {{ command: readonly string[], file: string }} Bundling `file`: in that folder */

/**
 * @typedef {object} Bundler
 * @property {string} name
 * @property {string} package
 * @property {string} version
 * @property {readonly string[]} [besides] see cachedPackage
 * @property {(order: Order) => Bundling} bundle
 * @property {'require'} [withoutAddon] the program whose bundle cannot know where it is: a CommonJS file inside an ES module
 */

const ESBUILD = { package: 'esbuild', version: '0.28.2' };
const WEBPACK = { package: 'webpack', version: '5.113.0', besides: ['webpack-cli@7.3.1'] };

/** @type {readonly Bundler[]} */
export const BUNDLERS = [
  { ...ESBUILD, name: 'esbuild', bundle: (order) => byEsbuild(order, isModule(order) ? 'esm' : 'cjs') },
  // An ES module as CommonJS, and the other way round.
  {
    ...ESBUILD,
    name: 'esbuild, crossed',
    bundle: (order) => byEsbuild(order, isModule(order) ? 'cjs' : 'esm'),
    withoutAddon: 'require',
  },
  // Its default target is a browser.
  { ...WEBPACK, name: 'webpack', bundle: (order) => byWebpack(order, []) },
  { ...WEBPACK, name: 'webpack, target node', bundle: (order) => byWebpack(order, ['--target', 'node']) },
  { package: '@vercel/ncc', version: '0.45.0', name: 'ncc', bundle: byNcc },
];

/** @param {Order} order @param {'esm' | 'cjs'} format @returns {Bundling} */
function byEsbuild({ entry, output, isMinified }, format) {
  const file = format === 'esm' ? 'out.mjs' : 'out.cjs';
  const options = ['--bundle', '--platform=node', `--format=${format}`, ...(isMinified ? ['--minify'] : [])];
  return { command: ['esbuild', entry, ...options, `--outfile=${join(output, file)}`], file };
}

/** @param {Order} order @param {readonly string[]} options @returns {Bundling} */
function byWebpack({ entry, output, isMinified }, options) {
  const mode = isMinified ? 'production' : 'development';
  return {
    command: ['webpack', '--mode', mode, '--entry', entry, '--output-path', output, ...options],
    file: 'main.js',
  };
}

/** @param {Order} order @returns {Bundling} */
function byNcc(order) {
  const { entry, output, isMinified } = order;
  const command = ['ncc', 'build', entry, '--out', output, ...(isMinified ? ['--minify'] : [])];
  return { command, file: isModule(order) ? 'index.mjs' : 'index.cjs' };
}

/** @param {Order} order */
function isModule({ entry }) {
  return entry.endsWith('.mjs');
}
