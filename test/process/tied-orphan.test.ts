/** Between the death of its owner and its own a tied server is of no use to anybody. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

/** PIDs in the group of this one, itself left out. */
function companions(pid: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === pid) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2] === String(pid) ? [Number(name)] : [];
    } catch {
      // ENOENT, ESRCH: it ended meanwhile.
      return [];
    }
  });
}

test('a server whose owner was killed is not handed out while its watcher lets it end', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 1_500 }, { lifetime: 'tied' });
  const owner = await startRemoteManager(t, spec);
  const orphan = await owner.start();
  owner.kill();
  await owner.program.exited;
  await eventually('the watcher to see it', () =>
    companions(orphan.pid).some((pid) => !readdirSync(`/proc/${pid}/fd`).includes('4')),
  );

  const next = await new ProcessManager(spec).start();

  assert.deepEqual({ reused: next.reused, samePid: next.pid === orphan.pid }, { reused: false, samePid: false });
});
