import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';

test('the models hold in their small configurations, and their mutants fail', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/model.mjs', '--small'], {
    cwd: projectRoot,
    encoding: 'utf8',
  });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /^journal .* holds$/m);
  assert.match(stdout, /^journal .*, cycles .* holds$/m);
  assert.match(stdout, /^shared .* holds$/m);
  assert.match(stdout, /^journal .* MUT_\w+ .* fails: /m);
  assert.match(stdout, /^shared .* MUT_\w+ .* fails: /m);
});
