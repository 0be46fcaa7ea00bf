/**
 * A package is loaded from beside the library, or else from beside the program; never from a place that an argument or the working
 * folder names.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

const LOAD = "import('LIBRARY').then(({ loadPackage }) => console.log(loadPackage('some-package')));";

/** Installs a package in this folder's node_modules; loading it gives the text. */
function installPackage(folder: string, text: string): void {
  const place = join(folder, 'node_modules/some-package');
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'index.js'), `module.exports = ${JSON.stringify(text)};\n`);
}

/** A copy of the library that has no package beside it. */
function copyLibrary(folder: string): { library: string; code: string } {
  const library = join(folder, 'library');
  mkdirSync(library);
  const file = join(library, 'load.mjs');
  cpSync(join(projectRoot, 'build/src/support/load.js'), file);
  return { library, code: LOAD.replace('LIBRARY', file) };
}

test('a package is loaded from beside the library, or else from beside the program', async (t) => {
  const folder = temporaryFolder(t);
  const { library, code } = copyLibrary(folder);
  const program = join(folder, 'program');
  installPackage(program, 'beside the program');
  writeFileSync(join(program, 'program.cjs'), code);
  const run = () => startProgram(t, process.execPath, [join(program, 'program.cjs')], { cwd: '/' }).ended();
  assert.equal((await run()).stdout, 'beside the program\n');
  installPackage(library, 'beside the library');
  assert.equal((await run()).stdout, 'beside the library\n');
});

test('neither the working folder nor an argument changes where a package is loaded from', async (t) => {
  const untrusted = temporaryFolder(t);
  installPackage(untrusted, 'by whoever may write there');
  const { code } = copyLibrary(temporaryFolder(t));
  const words = ['-e', code, join(untrusted, 'file')];
  const { stdout, stderr, exitCode } = await startProgram(t, process.execPath, words, { cwd: untrusted }).ended();
  assert.equal(stdout, '');
  assert.match(stderr, /Cannot find module 'some-package'/);
  assert.notEqual(exitCode, 0);
});
