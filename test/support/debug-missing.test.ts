/** DEBUG without the package `debug`, as in a bundle: one line tells a user who asked for our lines that they are missing. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

/** A program in which several layers log: a start that fails, after a lock. */
const PROGRAM = `
import { acquireLock, ProcessManager } from './src/index.js';
acquireLock(process.argv[2] + '/x.lock').release();
const spec = { name: 'x', command: 'false', stateDir: process.argv[2] };
await new ProcessManager(spec).start().catch(({ name }) => console.log(name));
`;

/** What the program prints on stderr. It uses a copy of the library that has no package beside it. */
async function stderrWith(t: TestContext, env: NodeJS.ProcessEnv): Promise<string> {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'state'));
  cpSync(join(projectRoot, 'build/src'), join(folder, 'src'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  writeFileSync(join(folder, 'program.js'), PROGRAM);
  const words = [join(folder, 'program.js'), join(folder, 'state')];
  const { DEBUG: _, ...rest } = process.env;
  const { stdout, stderr } = await startProgram(t, process.execPath, words, { env: { ...rest, ...env } }).ended();
  assert.equal(stdout, 'EarlyExitError\n', stderr);
  return stderr;
}

for (const DEBUG of ['flock-process:*', '*', 'flock-process:lock', 'express:*, flock-process:start', 'flock*,-x']) {
  test(`DEBUG=${DEBUG}: one line on stderr says that the package is missing`, async (t) => {
    const stderr = await stderrWith(t, { DEBUG });
    assert.match(stderr, /^flock-process: .*DEBUG.*"debug".*\n$/);
    assert.equal(stderr.split('\n').length, 2, stderr);
  });
}

for (const DEBUG of [undefined, '', 'express:*', 'flock-process:*,-flock-process:*', 'flock-process']) {
  test(`DEBUG=${DEBUG}: nothing is printed, because none of our lines was asked for`, async (t) => {
    assert.equal(await stderrWith(t, DEBUG === undefined ? {} : { DEBUG }), '');
  });
}
