/** Files and folders that are not quite ours. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProcessManager, type Status } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { appendToJournal } from '../helpers/journal.js';
import { asNobody, callElsewhere, unlessCapable, unlessRoot } from '../helpers/one-call.js';
import { snapshot } from '../helpers/outside-view.js';
import { startPowerlessManager } from '../helpers/powerless.js';
import { killAfter } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { argumentsOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

test("a start works with another user's lock file that may be written to", { skip: unlessRoot }, async (t) => {
  const spec = sleepSpec(t);
  const { lockFile } = new ProcessManager(spec).spec;
  mkdirSync(spec.stateDir);
  writeFileSync(lockFile, '');
  chownSync(lockFile, asNobody.uid, asNobody.gid);
  chmodSync(lockFile, 0o666);
  const manager = await startPowerlessManager(t, spec);
  const { pid } = await manager.start();
  killAfter(t, pid);
  assert.equal((await manager.status()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(pid), false);
});

test('status() works on a read-only state folder, with a stop pending or not, and changes nothing', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"';
  const wrapper = ['unshare', '--mount', 'sh', '-c', script, spec.stateDir];
  const before = snapshot(spec.stateDir);
  const running = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([running.state, running.pid], ['running', pid]);
  assert.deepEqual(snapshot(spec.stateDir), before);

  appendToJournal(spec, 'stop');
  const stopping = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([stopping.state, stopping.pid], ['stopping', pid]);

  await manager.stop();
  const stopped = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([stopped.state, stopped.pid], ['stopped', undefined]);
});

test('a tied server at a path with "=" is run, and not taken for a variable', async (t) => {
  const spec = sleepSpec(t, { lifetime: 'tied' });
  const folder = join(spec.stateDir, '..', 'a=b');
  mkdirSync(folder);
  const command = join(folder, 'sleep');
  copyFileSync('/bin/sleep', command);
  chmodSync(command, 0o755);
  const manager = new ProcessManager({ ...spec, command });
  const { pid } = await manager.start();
  await eventually('it runs', () => argumentsOf(pid)[0] === command);
  assert.equal((await manager.stop()).outcome, 'stopped');
});
