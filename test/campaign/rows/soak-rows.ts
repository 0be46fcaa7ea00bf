/**
 * Wear: what many managers in one process leave behind in the long run while every feature is in use: supervision, logs
 * that are followed, ready lines, servers that are shared and linger.
 * At the end the process must be as it was before: the same descriptors, and no more processes, listeners or resources
 * that keep the event loop alive. Its memory must have stopped growing in the second tenth of the time (of ten minutes:
 * after the first minute). On the way, descriptors, processes and processor time must not grow from the second quarter
 * to the last one.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processesIn } from '../../helpers/outside-view.js';
import { type Program, startProgram } from '../../helpers/programs.js';
import { eventually } from '../../helpers/waiting.js';
import type { Attack, Row } from '../attack.js';
import type { SoakPlan, SoakReport, SoakSample, SoakWord } from '../soak-program.js';
import { type Growth, grown, inMiB, inWholeMiB, least, median, secondToLastQuarter, tenths } from './soak-growth.js';

const DURATION_MS = 600_000;
const LEAST_DURATION_MS = 5_000;
const MANAGERS = 50;

/** Leaves the processors to the rows beside it: each manager starts once in this time, and its server crashes once. */
const PERIOD_MS = 15_000;

/** The rows beside it may leave this process little processor time. */
const ANSWERS_WITHIN_MS = 120_000;

/** How long it may take until what was closed or ended last is gone. */
const SETTLED_WITHIN_MS = 30_000;

/**
 * How far the least sample of the last tenth may be above that of the second tenth. A full soak has 1,600 cycles in
 * between, so a leak of 1 KiB a cycle adds 1.6 MiB to the heap. On a busy machine all managers can be in the middle of
 * a start for a whole tenth, which adds 1 MiB; therefore the last sample is taken of the process at rest.
 */
const HEAP_GROWTH_KIB = 1_024;

/** The same for the medians of resident memory, in which code pages and the allocator's free lists come and go. */
const RSS_GROWTH_KIB = 8 * 1_024;

/**
 * Options that keep the heap steady. The young generation is limited, in MiB: otherwise its growth to its full size, 48
 * MiB, would hide everything else for minutes. The compilers are off, because they go on for many minutes and their
 * output stays in the heap.
 */
const NODE_OPTIONS = ['--expose-gc', '--max-semi-space-size=1', '--no-opt', '--no-sparkplug'];

/** Makes glibc's allocator return free memory: otherwise one busy moment would show in the resident memory for ever. */
const ALLOCATOR = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072' };

/** A younger process is still loading its code. Only its heap is checked, with a wider limit. */
const GROWN_UP_AFTER_MS = 300_000;
const YOUNG_HEAP_GROWTH_KIB = 2 * HEAP_GROWTH_KIB;

/**
 * How far the median of the last quarter may be above that of the second one, while all managers are at work. More of
 * them have a server at one moment than at another, so a tenth more is no growth. A full soak has 1,000 cycles between
 * the two quarters, so a leak in every sixtieth of them is noticed. The delay of the event loop has no limit,
 * because other work on the machine delays the loop too: what the loop itself does shows in the processor time.
 */
const FLAT: Readonly<Record<Trend, (from: number) => number>> = {
  descriptors: (from) => 1.1 * from + 5,
  processes: (from) => 1.1 * from + 5,
  processorPercent: (from) => 1.5 * from + 2,
  loopDelayMs: () => Number.POSITIVE_INFINITY,
};

type Trend = 'descriptors' | 'processes' | 'processorPercent' | 'loopDelayMs';

/** The fewest periods of a soak: each quarter must have a whole one, and the managers end during the last one. */
const LEAST_PERIODS = 5;

/** One sample of the process: measured from outside, except for what only the process itself can measure. */
interface Sample extends SoakSample {
  rssKiB: number;
  /** What its descriptors have open, without the numbers of sockets and pipes. */
  descriptors: string[];
  /** How many children it has, together with the processes that have a file in its folder open. */
  processes: number;
}

export const soakRows: readonly Row[] = [
  {
    name: `${MANAGERS} managers that start, supervise and stop servers in one process leak no memory, descriptors or processes`,
    laws: [5, 6],
    attempts: 1,
    limitMs: DURATION_MS + 300_000,
    beside: true,
    async attack(attack) {
      const durationMs = attack.duration(DURATION_MS, LEAST_DURATION_MS);
      const periodMs = Math.min(PERIOD_MS, durationMs / 2);
      const { folder, random } = attack;
      const program = startSoak(attack, { folder, seed: random.fork(), managers: MANAGERS, durationMs, periodMs });
      assert.equal(await answer(program), 'idle');
      const before = await atRest(program, folder);
      program.send('go');
      const { report, series } = await watch(program, folder, Math.max(100, Math.min(1_000, durationMs / 60)));
      attack.count(report.cycles);
      for (const failure of report.failures.slice(0, 5)) attack.violation('a manager', failure);
      const after = await settled(program, before, folder);
      assert.deepEqual(processesOf(program.pid, folder), [], 'processes');
      assert.deepEqual(after.descriptors, before.descriptors, 'descriptors');
      assert.deepEqual(after.resources, before.resources, 'what keeps the event loop busy');
      assert.equal(after.listeners, before.listeners, 'listeners');
      const isYoung = durationMs < GROWN_UP_AFTER_MS;
      const busy = series.slice(0, series.length * (1 - periodMs / durationMs));
      for (const [what, { from, to }] of Object.entries(trends(busy))) {
        attack.remark(`${what}: ${from.toFixed(1)} in the second quarter, ${to.toFixed(1)} in the last one`);
        const isTooMuch = to > FLAT[what as keyof typeof FLAT](from);
        if (isTooMuch && durationMs >= LEAST_PERIODS * periodMs) attack.violation(`${what} grew from ${from} to ${to}`);
      }
      const growth = {
        heap: grown(valuesOf([...series, after], 'heapKiB'), least),
        rss: grown(valuesOf(series, 'rssKiB'), median),
      };
      const { cycles, crashes, lines, joined } = report;
      attack.remark(`${cycles} cycles, ${crashes} crashes, ${lines} lines followed, ${joined} joins while it lingered`);
      if (lines < cycles) attack.violation(`${lines} lines were followed in ${cycles} cycles`);
      attack.remark(`heap ${inMiB(growth.heap)}; RSS ${inMiB(growth.rss)}`);
      attack.remark(`RSS of each tenth, MiB: ${tenths(valuesOf(series, 'rssKiB'), median).map(inWholeMiB).join(' ')}`);
      attack.remark(
        `${before.descriptors.length} descriptors, at most ${most(series)}, then ${after.descriptors.length}`,
      );
      assert.ok(growth.heap.by < (isYoung ? YOUNG_HEAP_GROWTH_KIB : HEAP_GROWTH_KIB), `heap ${inMiB(growth.heap)}`);
      assert.ok(isYoung || growth.rss.by < RSS_GROWTH_KIB, `RSS ${inMiB(growth.rss)}`);
    },
  },
];

function startSoak(attack: Attack, plan: SoakPlan): Program {
  const path = fileURLToPath(new URL('../soak-program.js', import.meta.url));
  return startProgram(attack, process.execPath, [...NODE_OPTIONS, path, JSON.stringify(plan)], {
    env: { ...process.env, ...ALLOCATOR },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
}

/** Takes samples until the program is done. */
async function watch(
  program: Program,
  folder: string,
  everyMs: number,
): Promise<{ report: SoakReport; series: Sample[] }> {
  const series: Sample[] = [];
  for (;;) {
    await delay(everyMs);
    const word = await ask(program);
    if ('report' in word) {
      await answer(program);
      return { report: word.report, series };
    }
    series.push(outsideOf(program, word.sample, folder));
  }
}

async function take(program: Program, folder: string): Promise<Sample> {
  const word = await ask(program);
  assert.ok('sample' in word);
  return outsideOf(program, word.sample, folder);
}

async function ask(program: Program): Promise<Exclude<SoakWord, 'idle'>> {
  program.send('sample');
  return (await answer(program)) as Exclude<SoakWord, 'idle'>;
}

async function answer(program: Program): Promise<SoakWord> {
  const hasAnswered = () => program.messages.length > 0 || !program.isAlive;
  await eventually('the soak process has answered or ended', hasAnswered, { withinMs: ANSWERS_WITHIN_MS, everyMs: 10 });
  return await program.message<SoakWord>();
}

function outsideOf({ pid }: Program, sample: SoakSample, folder: string): Sample {
  const rssKiB = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
  return { ...sample, rssKiB, descriptors: descriptorsOf(pid), processes: processesOf(pid, folder).length };
}

/** A sample at rest after the warm-up: two samples in a row are equal, and no other process is left. */
async function atRest(program: Program, folder: string): Promise<Sample> {
  let last = await take(program, folder);
  const isAtRest = async () => {
    const before = last;
    last = await take(program, folder);
    return isLike(last, before) && processesOf(program.pid, folder).length === 0;
  };
  await eventually('the soak process is at rest', isAtRest, { withinMs: SETTLED_WITHIN_MS, everyMs: 100 });
  return last;
}

/** The last sample: taken when it equals the first one, or when that takes too long. */
async function settled(program: Program, before: Sample, folder: string): Promise<Sample> {
  const end = performance.now() + SETTLED_WITHIN_MS;
  for (;;) {
    const now = await take(program, folder);
    const isAlone = processesOf(program.pid, folder).length === 0;
    if ((isLike(now, before) && isAlone) || performance.now() > end) return now;
    await delay(100);
  }
}

function isLike(one: Sample, other: Sample): boolean {
  const facts = ({ descriptors, listeners, resources }: Sample) =>
    JSON.stringify({ descriptors, listeners, resources });
  return facts(one) === facts(other);
}

function descriptorsOf(pid: number): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\[\d+\]$/, '');
    } catch {
      return []; // ENOENT: the descriptor was closed since
    }
  });
  return links.toSorted();
}

/** PIDs of its children, zombies included, and of all other processes that have a file in the folder open. */
function processesOf(pid: number, folder: string): number[] {
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === pid);
  return [...new Set([...children.map(Number), ...processesIn(folder)])].filter((other) => other !== pid);
}

function parentOf(pid: string): number | undefined {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
  } catch {
    return undefined; // ENOENT, ESRCH: the process is gone
  }
}

/** The growth of each value that must stay flat. */
function trends(series: readonly Sample[]): Record<keyof typeof FLAT, Growth> {
  const trend = (read: (sample: Sample) => number) => secondToLastQuarter(series.map(read), median);
  return {
    descriptors: trend(({ descriptors }) => descriptors.length),
    processes: trend(({ processes }) => processes),
    processorPercent: trend(({ processorPercent }) => processorPercent),
    loopDelayMs: trend(({ loopDelayMs }) => loopDelayMs),
  };
}

function most(series: readonly Sample[]): number {
  return Math.max(...series.map(({ descriptors }) => descriptors.length));
}

function valuesOf(series: readonly Sample[], field: 'heapKiB' | 'rssKiB'): number[] {
  return series.map((sample) => sample[field]);
}
