import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import type { Traces } from '../fixtures/imports-alone.js';
import { fixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

test('an import alone has no effect, handles no signal, and loads nothing that is not needed yet', async (t) => {
  const folder = temporaryFolder(t);
  const { stdout } = await startProgram(t, process.execPath, [fixture('imports-alone')], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, TMPDIR: folder },
  }).ended();
  const { loaded, before, after } = JSON.parse(stdout) as Traces;
  assert.deepEqual(after, before);
  assert.deepEqual(readdirSync(folder), []);
  assert.ok(
    loaded.some((url) => url.endsWith('/src/index.js')),
    'this is a test of what is loaded',
  );
  const ahead = loaded.filter((url) => /node_modules|child_process|http2|net$|worker_threads/.test(url));
  assert.deepEqual(ahead, [], 'packages and the expensive built-in modules wait for their first use');
});
