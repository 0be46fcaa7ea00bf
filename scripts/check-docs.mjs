/**
 * `npm run check:docs`: checks that each link of the documents leads somewhere, that each script that they name exists, and that each
 * block of code does what its reader expects. The package is packed and installed into an empty folder; in a copy of it the blocks of a
 * document run one after another.
 * A `js` block is a whole program, which is run at once. A first line `// NAME` names its file, so that later blocks can import it;
 * `NAME.test.mjs` runs under `node --test`. A `diff` block is the program without the lines that begin with a minus. Of an `sh` block
 * each line must name programs and scripts that exist. A `text` block is output of a program. There is no other language.
 * docs/api.md is compared with the declarations by api-document.mjs. The package must contain whatever the README links to, and every
 * document or folder that it names must exist.
 * Notes in front of a block: `<!-- prints TEXT -->` is what its output must contain; `<!-- until FILE -->` runs it in the background:
 * once it has printed a line, FILE is run, and then the block gets the signal of Ctrl-C.
 * Ports are replaced by free ones, the home folder is a new one, and a process that is left over is a failure.
 */
// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wrongApiDocument } from './api-document.mjs';
import { freePort } from './free-port.mjs';
import { deadLinks, readDocument } from './markdown.mjs';
import { describe, mustRun, runProgram, userEnvironment } from './run-program.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

const TIMEOUT_MS = 60_000;

/** A newcomer needs fewer lines than this for each of the first steps, not counting imports and comments. */
const MOST_OWN_LINES = 5;
const FIRST_STEPS = 'First steps';

const run = beginTestRun();
const home = join(run.folder, 'home');
mkdirSync(home);
/** PATH with the Temporal CLI that the set-up fetched behind the others. */
const path = [process.env.PATH, join(root, '.cache/temporal/bin')].join(delimiter);
const env = userEnvironment({ ...run.environment, HOME: home, PATH: path });

let failures = 0;
try {
  const documents = documentPaths().map((file) => readDocument(root, file));
  for (const document of documents) {
    const commands = document.spans.filter((span) => span.startsWith('npm run ')).join('\n');
    const dead = [...deadLinks(root, document, documents), ...wrongCommands(commands), ...missingNames(document)];
    report(`the links of ${document.path}`, dead);
  }
  const { tarball, packed } = await pack();
  report('what docs/api.md says of the public surface', await wrongApiDocument(root, 'docs/api.md'));
  report('the README on the page of the package', wrongOnPackagePage(documents, packed));
  const installed = await install(tarball);
  for (const [index, document] of documents.entries()) {
    if (document.blocks.length === 0) continue;
    const folder = join(run.folder, `project-${index + 1}`);
    cpSync(installed, folder, { recursive: true, verbatimSymlinks: true });
    await runBlocks(document, folder);
  }
} finally {
  failures += await endTestRun(run);
}
console.log(`${failures === 0 ? '✔ the documents hold' : `✖ ${failures} failures`}`);
process.exitCode = failures > 0 ? 1 : 0;

function documentPaths() {
  const inDocs = readdirSync(join(root, 'docs')).map((name) => `docs/${name}`);
  return [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'examples/README.md',
    ...inDocs.filter((name) => name.endsWith('.md')),
  ];
}

/** Names of sources and their exports, `room/file.ts#name`, that do not exist. @param {import('./markdown.mjs').Document} document */
function missingNames({ spans }) {
  return spans.flatMap((span) => {
    const [, path, name] = /^([a-z]+\/[a-z-]+\.(?:ts|sh))(?:#(\w+))?$/.exec(span) ?? [];
    if (path === undefined) return [];
    const file = join(root, path.startsWith('src/') ? '.' : 'src', path);
    if (!existsSync(file)) return `\`${span}\`: there is no such source`;
    const declaration = new RegExp(
      `(?:function|interface|type|class|const) ${name}\\b|^  #?(?:async )?${name}[(<]`,
      'm',
    );
    return name === undefined || declaration.test(readFileSync(file, 'utf8')) ? [] : `\`${span}\`: it has no such name`;
  });
}

async function pack() {
  const options = { cwd: root, env: userEnvironment({}) };
  const { stdout } = await mustRun('npm', ['pack', '--json', '--silent', '--pack-destination', run.folder], options);
  // npm prints an array up to version 11, and later an object by package name.
  const [{ filename, files }] = /** @type {[{ filename: string, files: { path: string }[] }]} */ (
    Object.values(JSON.parse(stdout))
  );
  return { tarball: join(run.folder, filename), packed: files.map((file) => file.path) };
}

/** On the package's page a document that the package lacks must be named without a link. @param {import('./markdown.mjs').Document[]} documents @param {string[]} packed */
function wrongOnPackagePage(documents, packed) {
  const { links, spans } = /** @type {import('./markdown.mjs').Document} */ (
    documents.find((document) => document.path === 'README.md')
  );
  const files = links.flatMap((link) => (/^https?:|^#/.test(link) ? [] : (link.split('#')[0] ?? [])));
  const named = spans.filter((span) => /^[\w/-]+\.md$/.test(span));
  return [
    ...files.filter((file) => !packed.includes(file)).map((file) => `${file} is not in the package`),
    ...named.filter((file) => !existsSync(join(root, file))).map((file) => `there is no ${file}`),
  ];
}

/** Makes a folder that contains only the package. @param {string} tarball */
async function install(tarball) {
  const folder = join(run.folder, 'installed');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "allowScripts": { "fs-ext": true } }');
  await mustRun('npm', ['install', '--no-audit', '--no-fund', tarball], { cwd: folder, env: userEnvironment({}) });
  return folder;
}

/** @param {import('./markdown.mjs').Document} document @param {string} folder */
async function runBlocks({ path: file, blocks }, folder) {
  const ports = await freePortsFor(blocks.map(({ code }) => code).join('\n'));
  for (const [index, block] of blocks.map(asProgram).entries()) {
    const what = `${file}, block ${index + 1} (${block.title})`;
    if (block.language === 'sh') report(what, wrongCommands(block.code));
    else if (block.language === 'text') report(what, []);
    else if (block.language !== 'js') report(what, [`no rule for "${block.language}"`]);
    else
      report(
        what,
        await failuresOf({ ...block, code: withPorts(block.code, ports) }, `block-${index + 1}.mjs`, folder),
      );
  }
}

/** The program that a `diff` block leads to. @param {import('./markdown.mjs').Block} block @returns {import('./markdown.mjs').Block} */
function asProgram(block) {
  if (block.language !== 'diff') return block;
  const lines = block.code.split('\n').filter((line) => !line.startsWith('-'));
  return { ...block, language: 'js', code: lines.map((line) => line.slice(1)).join('\n') };
}

/** @param {import('./markdown.mjs').Block} block @param {string} fallback @param {string} folder @returns {Promise<string[]>} */
async function failuresOf({ code, title, note = '' }, fallback, folder) {
  const name = /^\/\/ (\S+\.mjs)$/m.exec(code.split('\n')[0] ?? '')?.[1] ?? fallback;
  writeFileSync(join(folder, name), `${code}\n`);
  const problems = title === FIRST_STEPS ? tooLong(code) : [];
  const until = /^until (\S+)$/.exec(note)?.[1];
  const prints = /^prints (.*)$/s.exec(note)?.[1] ?? '';
  if (note !== '' && until === undefined && prints === '') problems.push(`no rule for the note "${note}"`);
  return [
    ...problems,
    ...(until === undefined ? await failuresOfProgram(name, prints, folder) : await runUntil(name, until, folder)),
  ];
}

/** @param {string} name @param {string} prints @param {string} folder */
async function failuresOfProgram(name, prints, folder) {
  const ended = await runProgram(process.execPath, commandLine(name), { cwd: folder, env, timeoutMs: TIMEOUT_MS });
  if (ended.exitCode !== 0) return [describe(name, ended)];
  if (ended.stderr !== '') return [`it complained:\n${ended.stderr}`];
  return ended.stdout.includes(prints) ? [] : [`"${prints}" is not in its output:\n${ended.stdout}`];
}

/** @param {string} name @param {string} until @param {string} folder */
async function runUntil(name, until, folder) {
  const program = spawn(process.execPath, commandLine(name), {
    cwd: folder,
    env,
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let output = '';
  program.stderr.on('data', (text) => {
    output += text;
  });
  program.stdout.on('data', (text) => {
    output += text;
  });
  const ended = once(program, 'close');
  await Promise.race([once(program.stdout, 'data'), ended]);
  const problems = program.exitCode === null ? await failuresOfProgram(until, '', folder) : [];
  program.kill('SIGINT');
  const [status, signal] = await ended;
  if (signal === 'SIGINT') return problems;
  return [...problems, `it ended with ${signal ?? `exit code ${status}`}, not by Ctrl-C:\n${output}`];
}

/** @param {string} name */
function commandLine(name) {
  return name.endsWith('.test.mjs') ? ['--test', name] : [name];
}

/** Names a program with too many lines, not counting imports and comments. @param {string} code */
function tooLong(code) {
  const own = code.split('\n').filter((line) => line.trim() !== '' && !/^(import|\/\/)/.test(line));
  return own.length < MOST_OWN_LINES ? [] : [`${own.length} lines are not the first step that it promises`];
}

/** Names the commands that are not known. Each line is one command, or several joined by &&. @param {string} code */
function wrongCommands(code) {
  const { status, stderr } = spawnSync('sh', ['-n'], { input: code, encoding: 'utf8' });
  if (status !== 0) return [`it is no shell: ${stderr}`];
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const commands = code.split('\n').flatMap((line) => line.replace(/(^|\s)#.*$/, '').split('&&'));
  return commands
    .map((command) => command.trim().replace(/^(\w+=\S+\s+)+/, ''))
    .filter((command) => command !== '')
    .flatMap((command) => (isKnown(command.split(/\s+/), scripts) ? [] : [`no such command: ${command}`]));
}

/** @param {string[]} words @param {Record<string, string>} scripts */
function isKnown([program = '', verb = '', name = ''], scripts) {
  if (program === 'npm') {
    if (verb === 'run') return name in scripts;
    return ['install', 'test', 'install-test', 'rebuild', 'install-scripts', 'ci'].includes(verb);
  }
  if (['pnpm', 'yarn', 'bun'].includes(program)) return ['add', 'pm', 'install'].includes(verb);
  if (program.includes('/')) return readdirSync(join(root, program, '..')).includes(program.split('/').at(-1) ?? '');
  return spawnSync('sh', ['-c', 'command -v -- "$1"', 'sh', program]).status === 0;
}

/**
 * Chooses a free port for each number that the document uses as a port anywhere; the number is then replaced everywhere.
 * @param {string} code
 */
async function freePortsFor(code) {
  const numbers = new Set([...code.matchAll(/port: (\d{4,5})/g)].map(([, number = '']) => number));
  /** @type {Map<string, string>} */
  const ports = new Map();
  for (const number of numbers) ports.set(number, String(await freePort()));
  return ports;
}

/** @param {string} code @param {Map<string, string>} ports */
function withPorts(code, ports) {
  return code.replace(/\b\d{4,5}\b/g, (number) => ports.get(number) ?? number);
}

/** @param {string} what @param {readonly string[]} problems */
function report(what, problems) {
  console.log(`${problems.length === 0 ? '✔' : '✖'} ${what}${problems.map((problem) => `\n  ${problem}`).join('')}`);
  failures += problems.length;
}
