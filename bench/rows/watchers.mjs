/** The processes that are kept alive beside the managed process, and their resident memory. */
// @ts-check
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessManager } from 'flock-process';
import { Pm2 } from '../pm2.mjs';
import { makeFolder, residentMemory } from '../surroundings.mjs';

/** @type {readonly { lifetime: NonNullable<import('flock-process').ProcessSpec['lifetime']>, budget: number }[]} */
const LIFETIMES = [
  { lifetime: 'detached', budget: 0 },
  { lifetime: 'tied', budget: 2 },
  { lifetime: 'shared', budget: 4 },
];

/** @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureWatchers() {
  const pm2 = await Pm2.connect();
  const daemon = [residentMemory(pm2.daemonPid)];
  await pm2.end();
  /** @type {import('../budgets.mjs').Row[]} */
  const rows = [];
  for (const { lifetime, budget } of LIFETIMES) {
    const stateDir = join(makeFolder('watchers'), 'state');
    const manager = new ProcessManager({ name: 'sleep', command: 'sleep', args: ['600'], stateDir, lifetime });
    const { pid } = await manager.start();
    const memory = groupMembers(pid).map(residentMemory);
    await manager.stop();
    rows.push({
      what: `kept alive, ${lifetime}: ${memory.length} process${memory.length === 1 ? '' : 'es'}`,
      unit: 'MiB',
      subject: lifetime,
      samples: { [lifetime]: [memory.reduce((sum, one) => sum + one, 0)], "pm2's daemon": daemon },
      limit: { atMost: budget },
    });
  }
  return rows;
}

/** PIDs of the group of the managed process, without that process. @param {number} groupId */
function groupMembers(groupId) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => pid !== groupId && groupOf(pid) === groupId);
}

/** @param {number} pid */
function groupOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    // ENOENT, ESRCH: the process has ended since.
    return undefined;
  }
}
