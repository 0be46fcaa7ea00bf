/** A tied server whose owner has died is about to end, so no start may return it. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

/** The PIDs of all other processes in the group of this one. */
function companions(pid: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === pid) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2] === String(pid) ? [Number(name)] : [];
    } catch {
      // ENOENT, ESRCH: the process ended meanwhile.
      return [];
    }
  });
}

test('a start does not return a server whose owner was killed and whose watcher is ending it', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 1_500 }, { lifetime: 'tied' });
  const owner = await startRemoteManager(t, spec);
  const orphan = await owner.start();
  owner.kill();
  await owner.program.exited;
  await eventually('the watcher has noticed the end of the owner', () =>
    companions(orphan.pid).some((pid) => !readdirSync(`/proc/${pid}/fd`).includes('4')),
  );

  const next = await new ProcessManager(spec).start();

  assert.deepEqual({ reused: next.reused, samePid: next.pid === orphan.pid }, { reused: false, samePid: false });
});
