/**
 * `npm run build`: writes dist/, which has one file to import as an ES module and one as CommonJS, each with its source map and its
 * declarations. Compiles nothing when all of them are newer than what they are made from, except with `-- --always`.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { extractApi } from './api-extractor.mjs';
import './embed-watcher.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const TYPES = 'build/types/index.d.ts';
const READ = [
  'node_modules/.package-lock.json', // Each installation writes it.
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'scripts/build.mjs',
  'scripts/api-extractor.mjs',
];
const WRITTEN = ['index.js', 'index.js.map', 'index.cjs', 'index.cjs.map', 'index.d.ts', 'index.d.cts'];

if (process.argv.includes('--always') || !isUpToDate()) {
  await writeBundle('esm', 'index.js');
  // A CommonJS module knows its own place from __filename instead.
  await writeBundle('cjs', 'index.cjs', { 'import.meta.url': 'undefined' });
  writeDeclarations();
}
for (const name of readdirSync(dist)) if (!WRITTEN.includes(name)) rmSync(join(dist, name), { recursive: true });

/** As make does: was everything written after the last change of a source, of the compilers, or of their settings? */
function isUpToDate() {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const read = [...READ, 'src', ...sources.map((name) => `src/${name}`)].map(changedAt);
  const written = [TYPES, ...WRITTEN.map((name) => `dist/${name}`)].map(changedAt);
  return Math.max(...read) < Math.min(...written);
}

/** A folder changes when a file in it is made or removed. @param {string} path @returns {number} 0 when it is not there */
function changedAt(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/**
 * @param {'esm' | 'cjs'} format
 * @param {string} name
 * @param {Record<string, string>} define
 */
async function writeBundle(format, name, define = {}) {
  const bundle = await rolldown({
    input: join(root, 'src/index.ts'),
    tsconfig: join(root, 'tsconfig.json'),
    platform: 'node',
    transform: { define },
    plugins: [{ name: 'built-in modules', renderChunk: getBuiltinModules }],
  });
  // The declarations have the docstrings and the source map has the source; comments would be half of what an import reads.
  await bundle.write({ format, file: join(dist, name), sourcemap: true, comments: false });
  await bundle.close();
}

/**
 * Loads built-in modules without import and require. As imports they cost 2 ms of an import of the library. A require() in an ES module,
 * where there is none, would be left there by a bundler (esbuild), or make it ask for browser polyfills (webpack without a target).
 * @param {string} code
 */
function getBuiltinModules(code) {
  const changed = code
    .replace(/^import (\{[^}]*\}) from "(node:[^"]+)";$/gm, (_line, names, module) => {
      return `const ${names.replaceAll(' as ', ': ')} = process.getBuiltinModule("${module}");`;
    })
    .replace(/\brequire\("(node:[^"]+)"\)/g, 'process.getBuiltinModule("$1")');
  return { code: changed, map: null };
}

function writeDeclarations() {
  const tsc = join(root, 'node_modules/.bin/tsc');
  const { status } = spawnSync(tsc, ['-p', root], { stdio: 'inherit' });
  if (status !== 0) throw new Error('the declarations of each source were not written');
  const rolledUp = join(dist, 'index.d.ts');
  const { succeeded } = extractApi(join(root, TYPES), {
    apiReport: { enabled: false },
    dtsRollup: { enabled: true, untrimmedFilePath: rolledUp },
  });
  if (!succeeded) throw new Error('the declarations were not rolled up');
  copyFileSync(rolledUp, join(dist, 'index.d.cts'));
}
