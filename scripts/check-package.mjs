/**
 * `npm run check:package`: packs the package, looks at what is in it, and uses it as a dependent would.
 * The programs of that dependent are in consumer/.
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

/** The README names it: before 5.4 there was no NoInfer. */
const OLDEST_TYPESCRIPT = '5.4.5';

const work = mkdtempSync(join(tmpdir(), 'flock-process-package-'));
try {
  const { filename, files } = pack();
  const tarball = join(work, filename);
  check('files', () => compareFiles(files));
  check('source maps', () => checkMaps(files));
  check('publint', () => run(join(tools, 'publint'), ['run', tarball, '--strict']));
  check('types, as resolved', () => run(join(tools, 'attw'), [tarball, '--profile', 'esm-only']));
  const consumer = installInEmptyProject(tarball);
  check('import', () => run(process.execPath, ['esm.mjs'], consumer));
  check('require', () => run(process.execPath, ['commonjs.cjs'], consumer));
  check('types, as used', () => run(join(tools, 'tsc'), ['-p', '.'], consumer));
  const oldest = join(await cachedPackage('typescript', OLDEST_TYPESCRIPT), 'node_modules/.bin/tsc');
  check(`types, with TypeScript ${OLDEST_TYPESCRIPT} and ES2022 alone`, () =>
    run(oldest, ['-p', '.', '--lib', 'ES2022'], consumer),
  );
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
  // An array up to npm 11, an object by package name since.
  const [packed] = Object.values(report);
  return {
    filename: packed.filename,
    files: packed.files.map((/** @type {{ path: string }} */ file) => file.path).sort(),
  };
}

/** Each source with what is compiled from it, the documents, and nothing else. @param {string[]} files */
function compareFiles(files) {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const compiled = sources
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .flatMap((file) => [
      `src/${file}.ts`,
      ...['.js', '.js.map', '.d.ts', '.d.ts.map'].map((end) => `dist/${file}${end}`),
    ]);
  const scripts = sources.filter((file) => file.endsWith('.sh')).map((file) => `src/${file}`);
  const documents = readdirSync(join(root, 'docs')).map((file) => `docs/${file}`);
  const wanted = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', ...documents, ...compiled, ...scripts];
  const missing = wanted.filter((file) => !files.includes(file));
  const strays = files.filter((file) => !wanted.includes(file) || /\.test\.|fixture/.test(file));
  if (missing.length > 0) throw new Error(`not in the package: ${missing.join(', ')}`);
  if (strays.length > 0) throw new Error(`strays in the package (.npmignore): ${strays.join(', ')}`);
  return `${files.length}`;
}

/** A map is worth shipping only with the source that it leads to. @param {string[]} files */
function checkMaps(files) {
  const maps = files.filter((file) => file.endsWith('.map'));
  for (const map of maps) {
    for (const source of JSON.parse(readFileSync(join(root, map), 'utf8')).sources) {
      const target = join(dirname(map), source);
      if (!files.includes(target)) throw new Error(`${map} leads to ${target}, which is not in the package`);
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

/** What the declaration files export is what the dependent's types/ import. @param {string} consumer */
function compareImports(consumer) {
  const names = (/** @type {string} */ text) => text.split(',').flatMap((name) => /(\w+)\s*$/.exec(name)?.[1] ?? []);
  const named = (/** @type {string} */ file, /** @type {RegExp} */ pattern) =>
    [...readFileSync(file, 'utf8').matchAll(pattern)].flatMap(([, text = '']) => names(text));
  const exported = named(join(consumer, 'node_modules/flock-process/dist/index.d.ts'), /export (?:type )?\{([^}]*)\}/g);
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
