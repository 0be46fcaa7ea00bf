/** status() of a running process, alone on the machine and among others. */
// @ts-check
import { once } from 'node:events';
import psList from 'ps-list';
import { compare, timed } from '../measure.mjs';
import { compile } from '../peers.mjs';
import { endProgram, startProgram } from '../surroundings.mjs';
import { redisManager } from './starts.mjs';

const CROWDS = [0, 500, 2_000];

/** How often the crowds take turns. */
const TURNS = 3;

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureQuestions({ rounds }) {
  const crowd = compile('crowd');
  const manager = await redisManager();
  await manager.start();
  const contestants = [
    { name: 'status()', once: () => timed(() => manager.status()) },
    { name: 'ps-list', once: () => timed(() => psList()), rounds: 3 },
  ];
  /** @type {Record<string, number[]>[]} */
  const byCrowd = CROWDS.map(() => ({ 'status()': [], 'ps-list': [] }));
  try {
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const [index, size] of CROWDS.entries()) {
        const others = startProgram(crowd, [String(size)], { stdio: ['ignore', 'pipe', 'inherit'] });
        if (others.stdout === null) throw new Error('no pipe');
        await once(others.stdout, 'data');
        const samples = await compare(contestants, { rounds });
        for (const [name, values] of Object.entries(samples)) byCrowd[index]?.[name]?.push(...values);
        await endProgram(others);
      }
    }
  } finally {
    await manager.stop();
  }
  const alone = byCrowd[0]?.['status()'] ?? [];
  return CROWDS.map((size, index) => {
    const samples = byCrowd[index] ?? {};
    const row = { unit: 'ms', subject: 'status()' };
    if (size === 0) return { ...row, what: 'status(), running', samples, limit: { atMost: 2 } };
    const what = `status(), ${size} more processes`;
    return { ...row, what, samples: { ...samples, alone }, reference: 'alone', limit: { times: 1.2 } };
  });
}
