/** The built package in dist/: one file to import, and what importing it does. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Traces } from '../fixtures/imports-alone.js';
import { fixture, projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

const FILES = { import: join(projectRoot, 'dist/index.js'), require: join(projectRoot, 'dist/index.cjs') };

for (const [by, file] of Object.entries(FILES)) {
  test(`${by} alone has no effect, handles no signal, and loads one file and nothing that is not needed yet`, async (t) => {
    const folder = temporaryFolder(t);
    const { stdout } = await startProgram(t, process.execPath, [fixture('imports-alone'), by], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, TMPDIR: folder },
    }).ended();
    const { loaded, before, after } = JSON.parse(stdout) as Traces;
    assert.deepEqual(after, before);
    assert.deepEqual(readdirSync(folder), []);
    // The second name is Node's own, for the expression that gives the globals of its own realm.
    const ofNode = /^node:|^evalmachine\.<anonymous>$/;
    assert.deepEqual(
      loaded.filter((url) => !ofNode.test(url)),
      [pathToFileURL(file).href],
    );
    const ahead = loaded.filter((url) => /child_process|http2|net$|worker_threads/.test(url));
    assert.deepEqual(ahead, [], 'the expensive built-in modules wait for their first use');
  });

  test(`the file that ${by} loads contains neither import nor require, so that a bundler has nothing to resolve`, () => {
    const code = readFileSync(file, 'utf8');
    assert.deepEqual(code.match(/^import .*|\b(import|require)\(.*/gm) ?? [], []);
  });
}

test('import and require give the same names', async () => {
  const [one, other] = await Promise.all(Object.values(FILES).map((file) => import(pathToFileURL(file).href)));
  const { default: commonJs } = other as { default: object };
  assert.deepEqual(Object.keys(one as object).toSorted(), Object.keys(commonJs).toSorted());
});
