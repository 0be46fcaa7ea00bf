import {
  type Instance,
  type JournalEvent,
  ProcessManager,
  type ProcessManagerEvents,
  type ProcessSpec,
  type ProcessState,
  type SpawnChanges,
  type Status,
  type StopResult,
  type SuperviseOptions,
  type Supervisor,
  type SupervisorState,
} from 'flock-process';

const spec: ProcessSpec = {
  name: 'server',
  command: 'server',
  args: ['--port', '7000'],
  env: { LANG: 'C', TZ: undefined },
  stateDir: '~/.server',
  port: 7_000,
  isHealthy: async ({ address, reused }: Instance, signal: AbortSignal) =>
    reused || (address !== undefined && (await fetch(`http://${address}`, { signal })).ok),
  readyLine: /on port (?<port>\d+)/,
  prepare: async ({ signal }): Promise<SpawnChanges | undefined> =>
    signal.aborted ? undefined : { args: ['--port', '0'] },
  predecessor: () => undefined,
  logRotation: { overBytes: 0, keep: 2 },
  whenDifferent: 'refuse',
  lifetime: 'tied',
  stopSignal: 'SIGINT',
};
const manager = new ProcessManager(spec);

manager.on('exit', ({ pid, exitCode, signal }) => log(pid, signal ?? `exit code ${exitCode}`));
manager.on('restarting', ({ attempt, delayMs }) => log(attempt, `${delayMs} ms`));
manager.once('gaveUp', (error) => log(error.restarts, error.code));
const heard: (keyof ProcessManagerEvents)[] = [
  'spawned',
  'ready',
  'exit',
  'stopped',
  'unhealthy',
  'restarting',
  'gaveUp',
];

const words: Record<ProcessState, string> = {
  stopped: 'is down',
  starting: 'comes up',
  stopping: 'goes down',
  running: 'is up',
  unhealthy: 'is ill',
  unknown: 'is a riddle',
};

export async function live(signal: AbortSignal): Promise<string> {
  const { pid, startedAt }: Instance = await manager.start({ signal });
  const { state, checks, usage, users }: Status = await manager.status({ usage: true });
  const again: Instance = await manager.restart({ signal });
  const tail: string[] = (await manager.isRunning()) ? await manager.logTail(5) : [];
  const { outcome }: StopResult = await manager.stop({ signal });
  log(pid + again.pid + heard.length, startedAt.toISOString() + outcome + tail.join('\n'));
  log((usage?.cpu ?? 0) + (users ?? 0), String(checks.lock && checks.pidFile && checks.health));
  return words[state] + manager.spec.lockFile + manager.spec.startTimeoutMs.toFixed();
}

export async function keep(signal: AbortSignal): Promise<SupervisorState> {
  const options: SuperviseOptions = {
    checkIntervalMs: 1_000,
    respectStop: true,
    unhealthyAfter: 2,
    backoff: { initialMs: 100 },
    giveUpAfter: { restarts: 3, withinMs: 10_000 },
    signal,
  };
  const supervisor: Supervisor = manager.supervise(options);
  await supervisor.done;
  await supervisor.stop();
  return supervisor.state;
}

function log(count: number, text: string): void {
  if (count > 0) throw new Error(text);
}

// @ts-expect-error a spec must name its state folder
new ProcessManager({ name: 'server', command: 'server' });
// @ts-expect-error there is no such lifetime
new ProcessManager({ ...spec, lifetime: 'forever' });
// @ts-expect-error there is no such event
manager.on('started', () => undefined);
// @ts-expect-error an outcome is one of three words
(await manager.stop()).outcome satisfies 'stopped';

export async function follow(signal: AbortSignal): Promise<JournalEvent | undefined> {
  for await (const line of manager.followLog({ lines: 1, signal })) log(manager.files.length, line);
  using self = await manager.become({ signal });
  self.ready();
  return (await manager.history(1))[0];
}
