/** DEBUG where the package `debug` is not there, as in a bundle: one line says so, to whoever asked for our lines. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

/** Several layers log something: a start that fails, after a lock. */
const PROGRAM = `
import { acquireLock, ProcessManager } from './src/index.js';
acquireLock(process.argv[2] + '/x.lock').release();
const spec = { name: 'x', command: 'false', stateDir: process.argv[2] };
await new ProcessManager(spec).start().catch(({ name }) => console.log(name));
`;

/** What the program prints on stderr. The library is a copy of its own, without any package beside it. */
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
  test(`DEBUG=${DEBUG}: one line on stderr says that the package is not there`, async (t) => {
    const stderr = await stderrWith(t, { DEBUG });
    assert.match(stderr, /^flock-process: .*DEBUG.*"debug".*\n$/);
    assert.equal(stderr.split('\n').length, 2, stderr);
  });
}

for (const DEBUG of [undefined, '', 'express:*', 'flock-process:*,-flock-process:*', 'flock-process']) {
  test(`DEBUG=${DEBUG}: nothing of ours was asked for, and nothing is said`, async (t) => {
    assert.equal(await stderrWith(t, DEBUG === undefined ? {} : { DEBUG }), '');
  });
}
