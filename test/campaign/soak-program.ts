/**
 * Many managers in one process, each of which starts, crashes, supervises and stops its server over and over:
 * `node --expose-gc soak-program.js PLAN`. It says 'idle' when one server of each kind has been through all of it, begins at
 * 'go', and says what it did when it is over. To 'sample' it answers at any time what only it can see of itself.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { Random } from '../helpers/random.js';
import { freePort } from '../helpers/resources.js';

export interface SoakPlan {
  folder: string;
  seed: number;
  managers: number;
  durationMs: number;
  /** From one start of a manager to its next one. */
  periodMs: number;
}

/** What only the process itself can see. */
export interface SoakSample {
  /** After a collection. */
  heapKiB: number;
  /** What keeps the event loop busy: kind to count. */
  resources: Record<string, number>;
  /** Listeners on the process and on all managers. */
  listeners: number;
}

export interface SoakReport {
  cycles: number;
  crashes: number;
  failures: string[];
}

export type SoakWord = 'idle' | { sample: SoakSample } | { report: SoakReport };

/** Other work may have the processors: here no time limit is under test. */
const PATIENT = { startTimeoutMs: 120_000, stopTimeoutMs: 120_000, checkTimeoutMs: 60_000 };
const READY_WITHIN_MS = 120_000;

const KINDS = [
  { lifetime: 'detached', hasPort: false },
  { lifetime: 'tied', hasPort: true },
  { lifetime: 'shared', hasPort: false },
  { lifetime: 'detached', hasPort: true },
  { lifetime: 'tied', hasPort: false },
  { lifetime: 'shared', hasPort: true },
] as const;

const plan = JSON.parse(process.argv[2] ?? '') as SoakPlan;
const random = new Random(plan.seed);
const managers: ProcessManager[] = [];
const report: SoakReport = { cycles: 0, crashes: 0, failures: [] };

process.on('message', (word: 'go' | 'sample') => {
  if (word === 'sample') say({ sample: sample() });
  else void soak();
});
for (const index of KINDS.keys()) await cycle(await makeManager(index, 'warm-up'), 0);
report.cycles = report.crashes = 0;
say('idle');

async function soak(): Promise<void> {
  for (let index = 0; index < plan.managers; index += 1) managers.push(await makeManager(index, 'soak'));
  const end = performance.now() + plan.durationMs;
  await Promise.all(managers.map((manager, index) => keepCycling(manager, index / plan.managers, end)));
  say({ report });
}

async function keepCycling(manager: ProcessManager, offset: number, end: number): Promise<void> {
  const { periodMs } = plan;
  await delay(offset * periodMs);
  // The last one, too, is over when the others are. Once each, however late its turn comes.
  do {
    const next = performance.now() + periodMs;
    try {
      await cycle(manager, random.between(0.1, 0.3) * periodMs);
    } catch (error) {
      report.failures.push(String((error as Error).stack));
      await manager.stop().catch(() => undefined);
    }
    await delay(Math.max(0, next - performance.now()));
  } while (performance.now() < end - 0.9 * periodMs);
}

async function cycle(manager: ProcessManager, dwellMs: number): Promise<void> {
  await (manager.spec.lifetime === 'shared' ? shareAndLeave(manager, dwellMs) : superviseAndStop(manager, dwellMs));
  report.cycles += 1;
}

async function superviseAndStop(manager: ProcessManager, dwellMs: number): Promise<void> {
  const began = ready(manager);
  const supervisor = manager.supervise({
    checkIntervalMs: 2_000,
    backoff: { initialMs: 0 },
    giveUpAfter: { restarts: Number.MAX_SAFE_INTEGER },
  });
  const first = await began;
  await delay(dwellMs);
  const restarted = ready(manager);
  crash(first);
  const second = await restarted;
  if (second.pid === first.pid) throw new Error(`PID ${first.pid} is ready again after its crash`);
  await expectRunning(manager);
  await delay(dwellMs);
  await manager.stop();
  await supervisor.done;
}

async function shareAndLeave(manager: ProcessManager, dwellMs: number): Promise<void> {
  const first = await manager.start();
  await delay(dwellMs);
  const exited = once(manager, 'exit');
  crash(first);
  await exited;
  await manager.start();
  await expectRunning(manager);
  await delay(dwellMs);
  await manager.leave();
}

async function expectRunning(manager: ProcessManager): Promise<void> {
  const { state } = await manager.status();
  if (state !== 'running') throw new Error(`${manager.spec.name} is ${state}`);
}

async function ready(manager: ProcessManager): Promise<Instance> {
  const [instance] = (await once(manager, 'ready', { signal: AbortSignal.timeout(READY_WITHIN_MS) })) as [Instance];
  return instance;
}

function crash({ pid }: Instance): void {
  process.kill(pid, 'SIGKILL');
  report.crashes += 1;
}

async function makeManager(index: number, group: string): Promise<ProcessManager> {
  const { lifetime, hasPort } = KINDS[index % KINDS.length] as (typeof KINDS)[number];
  const stateDir = join(plan.folder, `${group}-${index}`);
  const common = { name: `${group}-${index}`, lifetime, stateDir, ...PATIENT };
  if (!hasPort) return new ProcessManager({ ...common, command: 'sleep', args: ['300'] });
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir];
  const spec: ProcessSpec = { ...common, command: 'redis-server', args, port };
  return new ProcessManager(spec);
}

function sample(): SoakSample {
  globalThis.gc?.();
  const kinds = process.getActiveResourcesInfo();
  const resources = Object.fromEntries(
    [...new Set(kinds)].sort().map((kind) => [kind, kinds.filter((it) => it === kind).length]),
  );
  return {
    heapKiB: process.memoryUsage().heapUsed / 1024,
    resources,
    listeners: [process, ...managers].reduce((sum, emitter) => sum + countListeners(emitter), 0),
  };
}

function countListeners(emitter: NodeJS.EventEmitter): number {
  return emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);
}

function say(word: SoakWord): void {
  process.send?.(word);
}
