/** What an idle process costs: its processor time, that of its children, and the helpers it starts. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { statFields } from './evidence.js';
import { whereIs } from './path-with-only.js';
import { plainFixture } from './paths.js';
import { children } from './process-tree.js';
import { temporaryFolder } from './resources.js';

/** Ticks of /proc/PID/stat are hundredths of a second. */
const TICK_MS = 10;

/** The times of the process and of a helper are each rounded to a tick. */
const ROUNDING_MS = 2 * TICK_MS;

/** How a process locks: with the addon, or through the one helper that is on its PATH. */
export type LockMode = 'the addon' | 'perl' | 'flock(1)';

export const LOCK_MODES: readonly LockMode[] = ['the addon', 'perl', 'flock(1)'];

/** Options for a fixture that locks in this mode, and the helpers that were started for it so far. */
export interface LockSetup {
  readonly options: { nodeArgs: string[]; env: NodeJS.ProcessEnv };
  starts(): string[];
}

export function lockSetup(test: Pick<TestContext, 'after'>, mode: LockMode): LockSetup {
  const folder = temporaryFolder(test);
  const logFile = join(folder, 'starts.txt');
  const starts = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8').split('\n').slice(0, -1) : []);
  const env = { ...process.env, STARTS: logFile };
  if (mode === 'the addon') return { options: { nodeArgs: [], env }, starts };
  const name = mode === 'perl' ? 'perl' : 'flock';
  copyFileSync(plainFixture('counting-helper.sh'), join(folder, name));
  const nodeArgs = ['--require', plainFixture('without-fs-ext.cjs')];
  return { options: { nodeArgs, env: { ...env, PATH: folder, REAL_HELPER: whereIs(name) } }, starts };
}

/**
 * Percent of one core that the process and its children, living or ended, use during `ms`, without the rounding error.
 */
export async function percentUsed(pid: number, ms: number, { below }: { below: number }): Promise<number> {
  return await thriceUnless({ below }, () => measure(pid, ms));
}

/** The same work costs more on a busy machine, but hardly each time: from `below` on, the median of three measurements. */
export async function thriceUnless({ below }: { below: number }, once: () => Promise<number>): Promise<number> {
  const first = await once();
  if (first < below) return first;
  const all = [first, await once(), await once()].toSorted((one, other) => one - other);
  return all[1] as number;
}

async function measure(pid: number, ms: number): Promise<number> {
  const before = usedMs(pid);
  const began = performance.now();
  await delay(ms);
  const used = usedMs(pid) - before - ROUNDING_MS;
  return (100 * Math.max(0, used)) / (performance.now() - began);
}

function usedMs(pid: number): number {
  const ofChildren = children(pid).map((child) => ticks(child).slice(0, 2));
  return [ticks(pid), ...ofChildren].flat().reduce((sum, one) => sum + one, 0) * TICK_MS;
}

/** utime and stime, then cutime and cstime: the times of the children that have ended. */
function ticks(pid: number): number[] {
  return (statFields(pid) ?? []).slice(11, 15).map(Number);
}
