/**
 * A lock file on a file system whose locks may not reach every machine causes one warning per device, and is locked all
 * the same.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ProcessAgent, startLockAgent } from '../helpers/lock-agent.js';
import { oneCallCommand, unlessCapable } from '../helpers/one-call.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };

/** Type numbers from linux/magic.h; those above 2^31 are negative on a 32-bit system. */
const doubtful: [number: number, warning: RegExp][] = [
  [0x6969, /is on NFS, where a lock may not reach all who see the file/],
  [0xff534d42, /is on SMB, /],
  [0xff534d42 | 0, /is on SMB, /],
  [0xfe534d42, /is on SMB, /],
  [0x517b, /is on SMB, /],
  [0x01021997, /is on 9p, /],
  [0x65735546, /is on FUSE or virtiofs, /],
];

function startAgentOn(t: TestContext, type: number | 'unknown'): ProcessAgent {
  const env = { ...process.env, FILE_SYSTEM: String(type) };
  return startLockAgent(t, { nodeArgs: ['--require', plainFixture('on-file-system.cjs')], env });
}

/** What the agent has printed by the time it has ended. */
async function warningsOf(agent: ProcessAgent): Promise<string[]> {
  await agent.ask({ do: 'retire' });
  const { stderr } = await agent.program.ended();
  return stderr.split('\n').filter((line) => line.includes('Warning'));
}

/** A folder on another device than the temp folder. */
function folderInMemory(t: TestContext): string {
  const folder = mkdtempSync('/dev/shm/flock-process-test-');
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

for (const [type, warning] of doubtful) {
  test(`a lock on file system ${type} works, and causes one warning`, async (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'x.lock');
    const agent = startAgentOn(t, type);
    await agent.acquire(path);
    await assert.rejects(agent.acquire(path), heldError);
    assert.equal(await agent.isLocked(path), true);
    await agent.release();
    await agent.acquire(join(folder, 'another.lock'));
    const warnings = await warningsOf(agent);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0] ?? '', warning);
    assert.match(warnings[0] ?? '', /\[FLOCK_PROCESS_FILE_SYSTEM\] FlockProcessWarning: The lock file ".*\/x\.lock"/);
    assert.match(warnings[0] ?? '', /Keep it on a local disk$/);
  });
}

test('two devices cause two warnings', async (t) => {
  const agent = startAgentOn(t, 0x6969);
  const folders = [temporaryFolder(t), folderInMemory(t)];
  for (const folder of [...folders, ...folders]) await agent.acquire(join(folder, `${Math.random()}.lock`));
  const warnings = await warningsOf(agent);
  assert.deepEqual(
    folders.map((folder) => warnings.filter((warning) => warning.includes(`"${folder}/`)).length),
    [1, 1],
    warnings.join('\n'),
  );
});

test('isLocked alone causes the warning', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, '');
  const agent = startAgentOn(t, 0x6969);
  assert.equal(await agent.isLocked(path), false);
  assert.equal((await warningsOf(agent)).length, 1);
});

test('on a local disk, in memory, and on an unknown file system there is no warning', async (t) => {
  const onDisk = startLockAgent(t);
  for (const folder of [temporaryFolder(t), folderInMemory(t)]) await onDisk.acquire(join(folder, 'x.lock'));
  assert.deepEqual(await warningsOf(onDisk), []);
  const untold = startAgentOn(t, 'unknown');
  await untold.acquire(join(temporaryFolder(t), 'x.lock'));
  await untold.release();
  assert.deepEqual(await warningsOf(untold), []);
});

test('a manager causes one warning, whichever files it locks, and starts and stops its process', async (t) => {
  const spec = await redisSpec(t);
  const env = { ...process.env, FILE_SYSTEM: String(0x6969) };
  for (const method of ['start', 'stop'] as const) {
    const [node, ...args] = oneCallCommand(method, spec);
    const words = ['--require', plainFixture('on-file-system.cjs'), ...args];
    const { stdout, stderr } = await startProgram(t, node, words, { env }).ended();
    assert.match(stdout, method === 'start' ? /"reused":false/ : /"outcome":"stopped"/);
    assert.equal(stderr.match(/FlockProcessWarning/g)?.length, 1, stderr);
  }
});

const unlessMounting = unlessCapable('sys_admin') || (existsSync('/dev/fuse') ? false : 'needs /dev/fuse');

test('on a real FUSE file system a lock is acquired, refused and checked, with one warning', {
  skip: unlessMounting,
}, async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.lock');
  const wrapper = ['unshare', '--mount', '--propagation=private', 'python3', plainFixture('on-fuse.py'), folder];
  const agent = startLockAgent(t, { wrapper });
  await agent.acquire(path);
  await assert.rejects(agent.acquire(path), heldError);
  assert.equal(await agent.isLocked(path), true);
  await agent.release();
  assert.equal(await agent.isLocked(path), false);
  const warnings = await warningsOf(agent);
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.match(warnings[0] ?? '', /x\.lock" is on FUSE or virtiofs, /);
  assert.equal(existsSync(path), false, 'the mount is nowhere else');
});
