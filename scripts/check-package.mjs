/**
 * `npm run check:package`: packs the package, checks its contents, and uses it as a dependent would. The programs of that dependent are
 * in consumer/.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedPackage } from './cached-packages.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, 'node_modules/.bin');

/** All files of the package. */
const FILES = [
  'LICENSE',
  'README.md',
  'dist/index.cjs',
  'dist/index.cjs.map',
  'dist/index.d.cts',
  'dist/index.d.ts',
  'dist/index.js',
  'dist/index.js.map',
  'docs/api.md',
  'docs/guarantees.md',
  'docs/limits.md',
  'package.json',
];

/** The ways to resolve declarations that a dependent may have set. */
const RESOLUTIONS = [
  ['--module', 'node16'],
  ['--module', 'nodenext'],
  ['--module', 'esnext', '--moduleResolution', 'bundler'],
  ['--module', 'commonjs'],
  ['--module', 'preserve'],
];

/** The same for the oldest TypeScript: the newest has no "node10" any more. */
const OLD_RESOLUTIONS = [
  ['--module', 'node16'],
  ['--module', 'nodenext'],
  ['--module', 'esnext', '--moduleResolution', 'bundler'],
  ['--module', 'commonjs', '--moduleResolution', 'node10'],
];

/** The oldest TypeScript that the README names: before 5.4 there was no NoInfer. */
const OLDEST_TYPESCRIPT = '5.4.5';

const work = mkdtempSync(join(tmpdir(), 'flock-process-package-'));
try {
  const { filename, files } = pack();
  const tarball = join(work, filename);
  check('files', () => compareFiles(files));
  check('source maps', checkMaps);
  check('publint', () => run(join(tools, 'publint'), ['run', tarball, '--strict']));
  check('types, as resolved', () => run(join(tools, 'attw'), [tarball]));
  const consumer = installInEmptyProject(tarball);
  check('import', () => run(process.execPath, ['esm.mjs'], consumer));
  check('require', () => run(process.execPath, ['commonjs.cjs'], consumer));
  for (const options of RESOLUTIONS) {
    check(`types, as used with ${options.join(' ')}`, () => run(join(tools, 'tsc'), ['-p', '.', ...options], consumer));
  }
  const oldest = join(await cachedPackage('typescript', OLDEST_TYPESCRIPT), 'node_modules/.bin/tsc');
  for (const options of OLD_RESOLUTIONS) {
    check(`types, with TypeScript ${OLDEST_TYPESCRIPT}, ES2022 alone and ${options.join(' ')}`, () =>
      run(oldest, ['-p', '.', '--lib', 'ES2022', ...options], consumer),
    );
  }
  check('types, all of them used', () => compareImports(consumer));
} catch (error) {
  console.error(`✖ ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** @returns {{ filename: string, files: string[] }} */
function pack() {
  const report = JSON.parse(run('npm', ['pack', '--json', '--silent', '--pack-destination', work]));
  // npm prints an array up to version 11, and later an object by package name.
  const [packed] = Object.values(report);
  return {
    filename: packed.filename,
    files: packed.files.map((/** @type {{ path: string }} */ file) => file.path).sort(),
  };
}

/** @param {string[]} files */
function compareFiles(files) {
  const missing = FILES.filter((file) => !files.includes(file));
  const strays = files.filter((file) => !FILES.includes(file));
  if (missing.length > 0) throw new Error(`not in the package: ${missing.join(', ')}`);
  if (strays.length > 0) throw new Error(`strays in the package ("files" in package.json): ${strays.join(', ')}`);
}

/** Requires that the source maps contain the sources, because the package does not contain the files. */
function checkMaps() {
  for (const map of FILES.filter((file) => file.endsWith('.map'))) {
    const { sources, sourcesContent } = JSON.parse(readFileSync(join(root, map), 'utf8'));
    for (const [index, source] of sources.entries()) {
      const text = readFileSync(join(root, dirname(map), source), 'utf8');
      if (sourcesContent[index] !== text) throw new Error(`${map} has another text of ${source}`);
    }
  }
}

/** @param {string} tarball @returns {string} the project's folder */
function installInEmptyProject(tarball) {
  const consumer = join(work, 'consumer');
  cpSync(join(root, 'scripts/consumer'), consumer, { recursive: true });
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  check('install', () =>
    run(
      'npm',
      ['install', '--no-audit', '--no-fund', tarball, `@types/node@${devDependencies['@types/node']}`],
      consumer,
    ),
  );
  if (!existsSync(join(consumer, 'node_modules/flock-process/dist/index.js'))) throw new Error('it was not installed');
  return consumer;
}

/** Requires that the dependent's types/ import every name that the declaration files export. @param {string} consumer */
function compareImports(consumer) {
  const names = (/** @type {string} */ text) => text.split(',').flatMap((name) => /(\w+)\s*$/.exec(name)?.[1] ?? []);
  const named = (/** @type {string} */ file, /** @type {RegExp} */ pattern) =>
    [...readFileSync(file, 'utf8').matchAll(pattern)].flatMap(([, text = '']) => names(text));
  const exported = named(join(consumer, 'node_modules/flock-process/dist/index.d.ts'), /^export declare (\w+ \w+)/gm);
  const files = readdirSync(join(consumer, 'types')).map((file) => join(consumer, 'types', file));
  const used = files.flatMap((file) => named(file, /import \{([^}]*)\} from 'flock-process'/g));
  const unused = exported.filter((name) => !used.includes(name));
  if (exported.length === 0 || unused.length > 0)
    throw new Error(`no type test uses ${unused.join(', ') || 'anything'}`);
}

/** @param {string} what @param {() => unknown} look throws when it fails */
function check(what, look) {
  const start = performance.now();
  try {
    look();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`);
  }
  console.log(`✔ ${what} (${Math.round(performance.now() - start)} ms)`);
}

/** @param {string} command @param {readonly string[]} args @returns {string} what it printed */
function run(command, args, cwd = root) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (status !== 0)
    throw new Error(`"${command} ${args.join(' ')}" failed ${error ?? `(exit code ${status})`}\n${stdout}${stderr}`);
  return stdout;
}
