/**
 * Under Node's permission model everything works with the permissions that docs/limits.md names; an error names a
 * missing one.
 */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Instance, ProcessSpec, Status, StopResult } from '../../src/index.js';
import { isLocked, ProcessManager } from '../../src/index.js';
import { journalFile } from '../helpers/journal.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { callElsewhere } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { projectRoot } from '../helpers/paths.js';
import { FLAGS, KNOWN, type Permission, permissions, userFolder } from '../helpers/permission.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';

/** An error comes within this time, long before the start time is over. */
const SOON_MS = 20_000;

const ALL: readonly Permission[] = ['read', 'write', 'child', 'addons', 'net'];

const without = (missing: Permission) => ALL.filter((permission) => permission !== missing);

/**
 * The folders that a program must be allowed to write to: the state folder, and the one that all processes of this user
 * share.
 */
const placesOf = (spec: ProcessSpec) => [`${spec.stateDir}/`, `${userFolder}/`];

for (const missing of ['nothing', 'addons'] as const) {
  const granted = missing === 'nothing' ? ALL : without(missing);

  for (const lifetime of ['detached', 'tied'] as const) {
    test(`with the documented permissions (${lifetime}, without ${missing}) start, status, reuse, logTail and stop work`, async (t) => {
      const spec = await redisSpec(t, { lifetime });
      mkdirSync(spec.stateDir, { recursive: true });
      const nodeArgs = permissions(granted, { write: placesOf(spec) });
      const { pid } = await callElsewhere<Instance>(t, 'start', spec, { nodeArgs });
      if (lifetime === 'tied') return;
      assert.equal(isRunning(pid), true);
      const { state, pid: found } = await callElsewhere<Status>(t, 'status', spec, { nodeArgs });
      assert.deepEqual([state, found], ['running', pid]);
      const again = await callElsewhere<Instance>(t, 'start', spec, { nodeArgs });
      assert.deepEqual([again.pid, again.reused], [pid, true]);
      assert.deepEqual(
        await callElsewhere(
          t,
          'lockHolders',
          { ...spec, lockFile: new ProcessManager(spec).spec.lockFile },
          { nodeArgs },
        ),
        [pid],
      );
      assert.ok((await callElsewhere<string[]>(t, 'logTail', spec, { nodeArgs })).length > 0);
      const { outcome } = await callElsewhere<StopResult>(t, 'stop', spec, { nodeArgs });
      assert.deepEqual([outcome, isRunning(pid)], ['stopped', false]);
    });
  }
}

test('a journal that has grown too large is trimmed under the permission model, too', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const journal = journalFile(spec);
  const line = `${JSON.stringify({ at: new Date().toISOString(), event: 'crash', by: 1, delayMs: 0, filler: 'x'.repeat(900) })}\n`;
  appendFileSync(journal, line.repeat(1_300));
  const before = statSync(journal);
  const nodeArgs = permissions(ALL, { write: placesOf(spec) });
  await callElsewhere(t, 'start', spec, { nodeArgs });
  const after = statSync(journal);
  assert.ok(after.size < before.size / 2, `${after.size} bytes`);
  assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
  assert.equal((await callElsewhere<StopResult>(t, 'stop', spec, { nodeArgs })).outcome, 'stopped');
});

/** Accepts an error of the library that names the permission, and blames nothing else. */
function names(...words: readonly string[]) {
  return (error: Error & { code?: string }) => {
    assert.match(String(error.code), /^ERR_(?!ACCESS)/, `an error of ours: ${error.message}`);
    for (const word of words) assert.ok(error.message.includes(word), error.message);
    assert.doesNotMatch(error.message, /on PATH|not found|not ready|does not exist|call stack/);
    return true;
  };
}

/** The files from which Node and the library are loaded. They include neither /proc nor the folders of PATH. */
const ownFiles = [`${projectRoot}/`, `${realpathSync(join(projectRoot, 'node_modules'))}/`];

interface Denial {
  /** The arguments that give Node every permission but the denied one. */
  nodeArgs(spec: ProcessSpec): string[];
  named(spec: ProcessSpec): string[];
}

const denials: Record<string, Denial> = {
  'to write': { nodeArgs: () => permissions(without('write')), named: () => [FLAGS.write] },
  'to start programs': { nodeArgs: () => permissions(without('child')), named: () => [FLAGS.child] },
  'to start programs, nor to load the addon': {
    nodeArgs: () => permissions(['read', 'write', 'net']),
    named: () => [FLAGS.child],
  },
  'to read /proc and the folders of PATH': {
    nodeArgs: (spec) => permissions(ALL, { read: [...ownFiles, ...placesOf(spec)] }),
    named: () => [FLAGS.read],
  },
  'to read the folders of PATH, nor to load the addon': {
    nodeArgs: (spec) => permissions(without('addons'), { read: [...ownFiles, ...placesOf(spec), '/proc/'] }),
    named: () => [FLAGS.read],
  },
  'to read the state folder': {
    nodeArgs: () => permissions(ALL, { read: [...ownFiles, '/proc/', '/usr/', '/bin/'] }),
    named: (spec) => [FLAGS.read, spec.stateDir],
  },
};
if (KNOWN.includes('net')) {
  denials['to use the network'] = { nodeArgs: () => permissions(without('net')), named: () => [FLAGS.net] };
}

for (const [what, { nodeArgs, named }] of Object.entries(denials)) {
  test(`a start that is not allowed ${what} says so at once, and leaves nothing`, async (t) => {
    const spec = await redisSpec(t, { startTimeoutMs: 60_000 });
    mkdirSync(spec.stateDir, { recursive: true });
    const began = performance.now();
    await assert.rejects(callElsewhere(t, 'start', spec, { nodeArgs: nodeArgs(spec) }), names(...named(spec)));
    assert.ok(performance.now() - began < SOON_MS);
    assert.equal(isLocked(new ProcessManager(spec).spec.lockFile), false);
  });
}

/** The denials that affect what `status()` and `stop()` need. */
const questions = {
  status: ['to read /proc and the folders of PATH', 'to read the state folder', 'to use the network'],
  stop: ['to write', 'to read /proc and the folders of PATH', 'to read the state folder'],
} as const;

for (const [method, denied] of Object.entries(questions) as [keyof typeof questions, readonly string[]][]) {
  for (const what of denied) {
    const denial = denials[what];
    if (denial === undefined) continue;
    test(`${method}() that is not allowed ${what} says so, and the running server stays`, async (t) => {
      const spec = await redisSpec(t);
      const { pid } = await new ProcessManager(spec).start();
      const nodeArgs = denial.nodeArgs(spec);
      await assert.rejects(callElsewhere(t, method, spec, { nodeArgs }), names(...denial.named(spec)));
      assert.equal(isRunning(pid), true);
    });
  }
}

test('a missing folder above those that may be read causes an error, and no endless loop', async (t) => {
  const folder = temporaryFolder(t);
  const allowed = join(folder, 'a/b/c/');
  const nodeArgs = permissions(ALL, { read: [...ownFiles, allowed], write: [allowed] });
  const agent = startLockAgent(t, { nodeArgs });
  await assert.rejects(agent.acquire(join(allowed, 'x.lock')), {
    name: 'LockUnavailableError',
    message: /--allow-fs-(read|write)/,
  });
});
