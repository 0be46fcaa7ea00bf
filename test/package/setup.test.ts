import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { plainFixture, projectRoot } from '../helpers/paths.js';
import { type Exit, startProgram } from '../helpers/programs.js';
import { temporalBinary } from '../helpers/temporal.js';

/** The programs that macOS has, or that Homebrew has for it. */
const ON_MACOS = ['redis-server', 'lsof', 'ps', 'flock', 'perl', 'spin', 'python3', 'gcc', 'go'];
const ON_LINUX_ALONE = ['setpriv', 'busybox'];
const FOR_ROOT = process.getuid?.() === 0 ? ['memcached', 'nginx', 'setcap'] : [];

async function setUp(t: TestContext, programs: readonly string[], nodeArgs: readonly string[] = []): Promise<Exit> {
  const script = join(projectRoot, 'scripts/setup.mjs');
  const path = pathWithOnly(t, ...programs);
  symlinkSync(temporalBinary(), join(path, 'temporal'));
  return await startProgram(t, process.execPath, [...nodeArgs, script], {
    env: { ...process.env, PATH: path },
  }).exited;
}

test('the set-up on macOS asks for nothing that does not exist there', async (t) => {
  const { stdout, stderr, exitCode } = await setUp(t, ON_MACOS, ['--require', plainFixture('on-darwin.cjs')]);
  assert.doesNotMatch(stdout + stderr, /MISSING|not complete/);
  for (const name of ON_MACOS) assert.match(stdout, new RegExp(`^${name} +/`, 'm'));
  assert.equal(exitCode, 0);
});

test('the set-up on Linux names what is missing, and the command that installs it', async (t) => {
  const { stdout, exitCode } = await setUp(t, ON_MACOS);
  const missing = [...ON_LINUX_ALONE, ...FOR_ROOT];
  for (const name of missing) assert.match(stdout, new RegExp(`^${name} +MISSING`, 'm'));
  const packages = ['util-linux busybox', ...(FOR_ROOT.length > 0 ? ['memcached nginx-light libcap2-bin'] : [])].join(
    ' ',
  );
  assert.match(stdout, new RegExp(`To install ${missing.join(', ')}, run:\\n +sudo apt-get .* ${packages}$`, 'm'));
  assert.equal(exitCode, 1);
});
