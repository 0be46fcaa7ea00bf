/** From where a package is loaded: beside the library, else beside the program; never from the working folder. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

/** A package in this folder's node_modules; loading it gives the text. */
function installPackage(folder: string, text: string): void {
  const place = join(folder, 'node_modules/some-package');
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'index.js'), `module.exports = ${JSON.stringify(text)};\n`);
}

/** A library and a program that uses it, in folders of their own. */
function makeProgram(t: TestContext): { library: string; program: string; folder: string } {
  const root = temporaryFolder(t);
  const [library, program] = [join(root, 'library'), join(root, 'program')];
  for (const folder of [library, program]) mkdirSync(folder);
  cpSync(join(projectRoot, 'build/src/support/load.js'), join(library, 'load.mjs'));
  const lines = ["import { loadPackage } from '../library/load.mjs';", "console.log(loadPackage('some-package'));"];
  writeFileSync(join(program, 'program.mjs'), lines.join('\n'));
  return { library, program, folder: root };
}

async function run(t: TestContext, program: string, cwd: string) {
  return await startProgram(t, process.execPath, [join(program, 'program.mjs')], { cwd }).ended();
}

test('a package is loaded from beside the library, else from beside the program', async (t) => {
  const { library, program } = makeProgram(t);
  installPackage(program, 'beside the program');
  assert.equal((await run(t, program, '/')).stdout, 'beside the program\n');
  installPackage(library, 'beside the library');
  assert.equal((await run(t, program, '/')).stdout, 'beside the library\n');
});

test('a package in the working folder is not loaded', async (t) => {
  const { program } = makeProgram(t);
  const untrusted = temporaryFolder(t);
  installPackage(untrusted, 'in the working folder');
  const { stdout, stderr, exitCode } = await run(t, program, untrusted);
  assert.equal(stdout, '');
  assert.match(stderr, /Cannot find module 'some-package'/);
  assert.notEqual(exitCode, 0);
});
