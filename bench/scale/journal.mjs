/** Calls on a process whose journal has many events, before and after the journal is trimmed. */
// @ts-check
import { appendFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessManager } from 'flock-process';
import { timed } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';
import { measureCurves, valuesOf } from './curves.mjs';

const MOST = 10_000;
const EVENTS = [10, 100, 1_000, MOST];

/** A start trims a journal that is larger than this. */
const TRIMMED_OVER_BYTES = 1024 * 1024;

/** The limits of these calls in ms, which hold however long the journal is. */
const LIMITS = { 'status()': 1, 'second start()': 2 };

const TRIMMING = 'the start() that trims it';

/** @returns {Promise<import('./scale.mjs').Scale>} */
export async function scaleJournal() {
  const axis = {
    panel: 'calls with a long journal',
    along: 'events in the journal',
    unit: 'ms',
    sizes: EVENTS,
    turns: 5,
  };
  /** @type {import('./curves.mjs').Measured[]} */
  const trimmed = [];
  const { curves, samples } = await measureCurves(axis, async (size) => {
    const { before, after } = await measureOne(size);
    if (after !== undefined) trimmed.push(after);
    return before;
  });
  const rows = Object.entries(LIMITS).map(([subject, atMost]) => ({
    what: `${subject}, ${MOST} events in the journal`,
    unit: 'ms',
    subject,
    samples: {
      [subject]: valuesOf(samples.get(MOST), subject),
      'with 10 events': valuesOf(samples.get(10), subject),
      'after trimming': valuesOf(trimmed, subject),
    },
    limit: { atMost },
  }));
  const winner = {
    what: `start() that spawns, ${MOST} events in the journal`,
    unit: 'ms',
    subject: 'start()',
    samples: {
      'start()': valuesOf(samples.get(MOST), 'start() that spawns'),
      'with 10 events': valuesOf(samples.get(10), 'start() that spawns'),
      [TRIMMING]: valuesOf(trimmed, TRIMMING),
    },
  };
  return { rows: [...rows, winner], curves };
}

/** Makes each call through a manager that has not read the journal yet. @param {number} events */
async function measureOne(events) {
  const stateDir = join(makeFolder('journal'), 'state');
  const manager = () =>
    new ProcessManager({
      name: 'sleep',
      command: 'sleep',
      args: ['600'],
      stateDir,
      isHealthy: () => true,
      stopSignal: 'SIGKILL',
    });
  const journal = join(stateDir, 'sleep.journal');
  const startAnew = async () => {
    await manager().stop();
    return await timed(() => manager().start());
  };
  const ask = async () => ({
    'status()': await timed(() => manager().status()),
    'second start()': await timed(() => manager().start()),
    'history()': await timed(() => manager().history()),
  });
  await manager().start();
  await manager().stop();
  appendEvents(journal, events);
  if (statSync(journal).size > TRIMMED_OVER_BYTES) throw new Error('this journal is trimmed too early');
  const before = { 'start() that spawns': await startAnew(), ...(await ask()) };
  let after;
  if (events === MOST) {
    appendEvents(journal, events / 4);
    after = { [TRIMMING]: await startAnew(), ...(await ask()) };
    if (statSync(journal).size > TRIMMED_OVER_BYTES / 4) throw new Error('the journal was not trimmed');
  }
  await manager().stop();
  return { before, after };
}

/**
 * Appends what each stop() of a process that does not run writes: two lines, with an empty line before each. @param {string} journal
 * @param {number} events
 */
function appendEvents(journal, events) {
  const at = new Date().toISOString();
  const stop = JSON.stringify({ at, event: 'stop', by: process.pid, token: 'abcdefghij' });
  const stopped = JSON.stringify({ at, event: 'stopped', by: process.pid, outcome: 'not-running', tookMs: 1 });
  appendFileSync(journal, `\n${stop}\n\n${stopped}\n`.repeat(events / 2));
}
