/**
 * The program of the soak: `node --expose-gc soak-program.js PLAN`. It has many managers in one process. Each starts,
 * crashes, supervises and stops its server over and over, or shares a server that lingers, while the server's log is
 * followed.
 * The program says 'idle' when one server of each kind has been through all of this, begins at 'go', and reports what
 * it did at the end. To 'sample' it answers at any time with what only the process itself can measure.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { Random } from '../helpers/random.js';
import { freePort } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

export interface SoakPlan {
  folder: string;
  seed: number;
  managers: number;
  durationMs: number;
  /** The time from one start of a manager to its next one. */
  periodMs: number;
}

/** What only the process itself can measure. */
export interface SoakSample {
  /** The size of the heap after a garbage collection. */
  heapKiB: number;
  /** What keeps the event loop alive: the kind of resource, and how many there are. */
  resources: Record<string, number>;
  /** How many listeners the process and all managers have. */
  listeners: number;
  /** The 99th percentile of the event loop's delay since the last sample, in milliseconds. */
  loopDelayMs: number;
  /** Percent of one processor that the process has used since the last sample. */
  processorPercent: number;
}

export interface SoakReport {
  cycles: number;
  crashes: number;
  /** How many lines of followed logs were read. */
  lines: number;
  /** How many users joined a server that lingered. */
  joined: number;
  failures: string[];
}

export type SoakWord = 'idle' | { sample: SoakSample } | { report: SoakReport };

/** Time limits are not tested here, and other work may have the processors. */
const PATIENT = { startTimeoutMs: 120_000, stopTimeoutMs: 120_000, checkTimeoutMs: 60_000 };
const READY_WITHIN_MS = 120_000;

const KINDS = [
  { lifetime: 'detached', hasPort: false, lingers: false },
  { lifetime: 'tied', hasPort: true, lingers: false },
  { lifetime: 'shared', hasPort: false, lingers: true },
  { lifetime: 'detached', hasPort: true, lingers: false },
  { lifetime: 'tied', hasPort: false, lingers: false },
  { lifetime: 'shared', hasPort: true, lingers: false },
] as const;

const READY_LINES = { sleep: 'serving', redis: /Ready to accept connections/ };

const plan = JSON.parse(process.argv[2] ?? '') as SoakPlan;
const random = new Random(plan.seed);
const managers: ProcessManager[] = [];
const report: SoakReport = { cycles: 0, crashes: 0, lines: 0, joined: 0, failures: [] };
const loop = monitorEventLoopDelay({ resolution: 10 });
loop.enable();
let used = { cpu: process.cpuUsage(), at: performance.now() };

process.on('message', (word: 'go' | 'sample') => {
  if (word === 'sample') say({ sample: sample() });
  else void soak();
});
for (const index of KINDS.keys()) {
  const manager = await makeManager(index, 'warm-up');
  await followed(manager, () => cycle(manager, 0));
}
report.cycles = report.crashes = report.lines = report.joined = 0;
say('idle');

async function soak(): Promise<void> {
  for (let index = 0; index < plan.managers; index += 1) managers.push(await makeManager(index, 'soak'));
  const end = performance.now() + plan.durationMs;
  const keep = (manager: ProcessManager, index: number) => keepCycling(manager, index / plan.managers, end);
  await Promise.all(managers.map((manager, index) => followed(manager, () => keep(manager, index))));
  say({ report });
}

async function keepCycling(manager: ProcessManager, offset: number, end: number): Promise<void> {
  const { periodMs } = plan;
  await delay(offset * periodMs);
  // The manager that begins last must end with the others, but makes at least one cycle, however late it begins.
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

/** Follows the log of the manager during `work`: each spawned server must be reported once by its ready line. */
async function followed(manager: ProcessManager, work: () => Promise<void>): Promise<void> {
  const over = new AbortController();
  let [spawned, told] = [0, 0];
  const count = () => (spawned += 1);
  manager.on('spawned', count);
  const following = (async () => {
    for await (const line of manager.followLog({ lines: 0, signal: over.signal })) {
      report.lines += 1;
      if (isReadyLine(manager, line)) told += 1;
    }
  })();
  try {
    await work();
    const isTold = () => told >= spawned;
    await eventually('the follower has every ready line', isTold, { withinMs: READY_WITHIN_MS, everyMs: 50 }).catch(
      () => undefined,
    );
    if (told !== spawned) report.failures.push(`${manager.spec.name}: ${told} ready lines of ${spawned} spawns`);
  } finally {
    over.abort();
    await following.catch((error) => over.signal.aborted || report.failures.push(String(error)));
    manager.off('spawned', count);
  }
}

function isReadyLine({ spec: { readyLine = '' } }: ProcessManager, line: string): boolean {
  return typeof readyLine === 'string' ? line === readyLine : readyLine.test(line);
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
  if (!manager.spec.lingerMs) return;
  // A user that comes while the server lingers joins it, unless this process itself was late.
  const { reused } = await manager.start();
  if (reused) report.joined += 1;
  await expectRunning(manager);
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
  const { lifetime, hasPort, lingers } = KINDS[index % KINDS.length] as (typeof KINDS)[number];
  const stateDir = join(plan.folder, `${group}-${index}`);
  const lingerMs = lingers ? plan.periodMs / 10 : 0;
  const common = { name: `${group}-${index}`, lifetime, lingerMs, stateDir, ...PATIENT };
  if (!hasPort) {
    const args = ['-c', `echo ${READY_LINES.sleep}; exec sleep 300`];
    return new ProcessManager({ ...common, command: '/bin/sh', args, readyLine: READY_LINES.sleep });
  }
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir];
  const spec: ProcessSpec = { ...common, command: 'redis-server', args, port, readyLine: READY_LINES.redis };
  return new ProcessManager(spec);
}

function sample(): SoakSample {
  // The delay is read before the garbage collection, which holds up the event loop by itself.
  const loopDelayMs = loop.percentile(99) / 1e6;
  const { user, system } = process.cpuUsage(used.cpu);
  const processorPercent = (user + system) / 10 / (performance.now() - used.at);
  globalThis.gc?.();
  const kinds = process.getActiveResourcesInfo();
  const resources = Object.fromEntries(
    [...new Set(kinds)].sort().map((kind) => [kind, kinds.filter((it) => it === kind).length]),
  );
  setImmediate(() => {
    loop.reset();
    used = { cpu: process.cpuUsage(), at: performance.now() };
  });
  return {
    loopDelayMs,
    processorPercent,
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
