/** start() and status() of a process that already runs, alone on the machine and among other processes. */
// @ts-check
import { once } from 'node:events';
import psList from 'ps-list';
import { freePort } from '../../scripts/free-port.mjs';
import { compare, timed } from '../measure.mjs';
import { compile } from '../peers.mjs';
import { Pm2 } from '../pm2.mjs';
import { endProgram, startProgram } from '../surroundings.mjs';
import { redisApp, redisManager } from './starts.mjs';

const CROWDS = [0, 2_000];

/** How often each crowd is measured, in turn. */
const TURNS = 3;

const PM2 = 'pm2 start, of what runs';

/** The rounds of a peer that is slow by its own design. */
const SLOW_ROUNDS = 3;

const LIMITS = { 'second start()': 2, 'status()': 1 };

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureQuestions({ rounds }) {
  const crowd = compile('crowd');
  const manager = await redisManager();
  await manager.start();
  const pm2 = await Pm2.connect();
  const app = redisApp('second', await freePort());
  await pm2.start(app);
  const contestants = [
    { name: 'second start()', once: () => timed(() => manager.start()) },
    { name: 'status()', once: () => timed(() => manager.status()) },
    { name: PM2, once: () => timed(() => pm2.startAgain(app)), rounds: SLOW_ROUNDS },
    { name: 'ps-list', once: () => timed(() => psList()), rounds: SLOW_ROUNDS },
  ];
  /** @type {Map<number, Record<string, number[]>>} */
  const byCrowd = new Map(CROWDS.map((size) => [size, Object.fromEntries(contestants.map(({ name }) => [name, []]))]));
  try {
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const [size, all] of byCrowd) {
        const others = startProgram(crowd, [String(size)], { stdio: ['ignore', 'pipe', 'inherit'] });
        if (others.stdout === null) throw new Error('no pipe');
        await once(others.stdout, 'data');
        const samples = await compare(contestants, { rounds });
        for (const [name, values] of Object.entries(samples)) all[name]?.push(...values);
        await endProgram(others);
      }
    }
  } finally {
    await manager.stop();
    await pm2.end();
  }
  return Object.entries(LIMITS).flatMap(([subject, atMost]) =>
    [...byCrowd].map(([size, all]) => ({
      what: size === 0 ? `${subject}, of what runs` : `${subject}, ${size} more processes`,
      unit: 'ms',
      subject,
      samples: Object.fromEntries([subject, PM2, 'ps-list'].map((name) => [name, all[name] ?? []])),
      limit: { atMost },
    })),
  );
}
