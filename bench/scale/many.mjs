/**
 * Many managers in one process that does nothing else: `many.mjs manage N` has N servers, `many.mjs supervise N` also their
 * supervisors, and `many.mjs stop N` has N managers of one server, which all stop it. It sends its measurements and ends.
 */
// @ts-check
import { once } from 'node:events';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from 'flock-process';
import { timed } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';

/** By this time a supervisor has made its first check. */
const SETTLED_MS = 1_500;

/** Longer than the five seconds after which a supervisor checks again whether its process is healthy. */
const WATCHED_MS = 10_000;

const LOOP_TURNS_MS = 20;

const [what = '', size = ''] = process.argv.slice(2);
const stateDir = join(makeFolder('many'), 'state');
const managers = Array.from({ length: Number(size) }, (_, index) => sleepManager(what === 'stop' ? 0 : index));
const tasks = { manage, supervise, stop };
process.send?.(await tasks[/** @type {keyof typeof tasks} */ (what)]());
process.disconnect?.();

async function manage() {
  const before = process.memoryUsage.rss();
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  await delay(LOOP_TURNS_MS);
  const start = await timedEach((manager) => manager.start());
  // The delay of the loop is known only when it turns again.
  await delay(LOOP_TURNS_MS);
  loop.disable();
  const memory = (process.memoryUsage.rss() - before) / 1024 / managers.length;
  const status = await timedEach((manager) => manager.status());
  const { each, slowest, failures } = await stopAll();
  return { start, status, stop: each, slowest, failures, memory, blocked: loop.max / 1e6 };
}

async function supervise() {
  const started = managers.map(untilReady);
  const start = await timedEach((manager, index) => {
    manager.supervise({ backoff: { initialMs: 0 }, giveUpAfter: false });
    return started[index];
  });
  await delay(SETTLED_MS);
  const before = process.cpuUsage();
  const watched = await timed(() => delay(WATCHED_MS));
  const { user, system } = process.cpuUsage(before);
  const pids = await Promise.all(started);
  const again = managers.map(untilReady);
  const crash = await timed(async () => {
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await Promise.all(again);
  });
  const { each } = await stopAll();
  return { start, idle: (user + system) / 10 / watched, crash: crash / managers.length, stop: each };
}

/** Stops one server through many managers. */
async function stop() {
  await managers[0]?.start();
  const { slowest, failures } = await stopAll();
  return { slowest, failures };
}

/** Each stop() must keep its limit, and one that gives up is counted. The run ends and names the processes that are left then. */
async function stopAll() {
  let [slowest, failures] = [0, 0];
  const each = await timedEach(async (manager) => {
    const stopped = manager.stop().catch((error) => {
      if (failures === 0) console.error(`${what} ${size}: ${error}`);
      failures += 1;
    });
    slowest = Math.max(slowest, await timed(() => stopped));
  });
  return { each, slowest, failures };
}

/** @param {ProcessManager} manager @returns {Promise<number>} its PID */
async function untilReady(manager) {
  const [{ pid }] = await once(manager, 'ready');
  return pid;
}

/** Makes all calls at once; gives their milliseconds. @param {(manager: ProcessManager, index: number) => unknown} call */
async function timedEach(call) {
  return (await timed(() => Promise.all(managers.map(call)))) / managers.length;
}

/** A process that is ready as soon as it is spawned, because its own start time is not measured. @param {number} index */
function sleepManager(index) {
  return new ProcessManager({
    name: `sleep-${index}`,
    command: 'sleep',
    args: ['600'],
    stateDir,
    isHealthy: () => true,
    startTimeoutMs: 120_000,
  });
}
