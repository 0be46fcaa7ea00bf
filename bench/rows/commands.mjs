/** A status command as a whole process: a Node program that asks once and ends. */
// @ts-check
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/free-port.mjs';
import { compare, timed } from '../measure.mjs';
import { peerFile } from '../peers.mjs';
import { Pm2 } from '../pm2.mjs';
import { makeFolder } from '../surroundings.mjs';
import { redisApp, redisManager } from './starts.mjs';

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureCommands({ rounds }) {
  const empty = join(makeFolder('commands'), 'empty.mjs');
  writeFileSync(empty, '');
  const program = fileURLToPath(new URL('../status-command.mjs', import.meta.url));
  const manager = await redisManager();
  const pm2 = await Pm2.connect();
  try {
    const { name, command, args = [], stateDir, port } = manager.spec;
    await manager.start();
    await pm2.start(redisApp('asked', await freePort()));
    const spec = JSON.stringify({ name, command, args, stateDir, port });
    const contestants = [
      runs('empty script', [empty], ''),
      runs('status command', [program, spec], 'running\n'),
      { ...runs('pm2 describe', [peerFile('pm2/bin/pm2'), 'describe', 'asked'], /name asked/), rounds: 5 },
    ];
    return [
      {
        what: 'a status command as a whole process',
        unit: 'ms',
        subject: 'status command',
        reference: 'empty script',
        samples: await compare(contestants, { rounds: rounds * 2 }),
        limit: { times: 1.3 },
      },
    ];
  } finally {
    await manager.stop();
    await pm2.end();
  }
}

/** @param {string} name @param {string[]} args @param {string | RegExp} expected what it prints */
function runs(name, args, expected) {
  const run = () => {
    const printed = execFileSync(process.execPath, args, { encoding: 'utf8' });
    const isExpected = typeof expected === 'string' ? printed === expected : expected.test(printed);
    if (!isExpected) throw new Error(`${name} printed ${JSON.stringify(printed)}`);
  };
  return { name, once: () => timed(run) };
}
