/** A managed server that notices without the library whether another one runs: fixtures/witness.py. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { isLocked, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess, statFields } from './evidence.js';
import { plainFixture } from './paths.js';
import { hasProc, listProcesses } from './portable-view.js';
import { pythonSpec } from './servers.js';

export interface Witness {
  readonly spec: ProcessSpec & { port: number };
  /** PIDs of all servers that there ever were, oldest first. */
  pids(): number[];
  /** @throws when a server has ever met another one */
  assertNeverTwo(): void;
  /** Discards the reports of servers that met another one. */
  forget(): void;
  /** PIDs of the servers that are alive, whether they have written anything or not; zombies do not count. */
  alive(): number[];
  /** Requires that no server is alive and that lock and port are free. */
  assertNothingThere(): Promise<void>;
}

interface Behaviour {
  listenAfterMs?: number;
  /** How long the server takes to end after SIGTERM; it accepts connections until then. */
  dieAfterMs?: number;
}

let python: string | undefined;

export async function witnessedServer(
  test: Parameters<typeof pythonSpec>[0],
  { listenAfterMs = 0, dieAfterMs = 0 }: Behaviour = {},
  changes: Partial<ProcessSpec> = {},
): Promise<Witness> {
  // The path of the interpreter itself: `python3` on PATH may be a version manager's script, which takes five times as
  // long.
  python ??= execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  const plain = await pythonSpec(test, undefined, { name: 'witness', command: python, ...changes });
  const folder = dirname(plain.stateDir);
  const words = [folder, plain.port, listenAfterMs, dieAfterMs].map(String);
  const spec = { ...plain, args: ['-I', '-S', plainFixture('witness.py'), ...words] };
  const journal = () => readOrEmpty(`${folder}/journal`).split('\n').filter(Boolean);
  const alive = () =>
    hasProc
      ? livingProcesses().filter((pid) => isServer(readOrEmpty(`/proc/${pid}/cmdline`), folder))
      : listProcesses().flatMap(({ pid, commandLine }) => (isServer(commandLine, folder) ? pid : []));
  return {
    spec,
    pids: () => journal().flatMap((line) => (line.startsWith('up ') ? Number(line.slice(3)) : [])),
    assertNeverTwo: () =>
      assert.deepEqual(
        journal().filter((line) => !line.startsWith('up ')),
        [],
      ),
    forget: () => writeFileSync(`${folder}/journal`, ''),
    alive,
    assertNothingThere: async () => {
      assert.deepEqual(alive(), []);
      assert.equal(isLocked(`${spec.stateDir}/witness.lock`), false);
      assert.equal(await accepts(spec.port), false);
    },
  };
}

/** PIDs of the living processes of a group. Signal 0 to the group would also reach zombies that are not reaped yet. */
export function livingInGroup(groupId: number): number[] {
  if (!hasProc)
    return listProcesses().flatMap(({ pid, fields: [state, , group] }) =>
      Number(group) === groupId && state !== 'Z' ? pid : [],
    );
  return livingProcesses().filter((pid) => Number(statFields(pid)?.[2]) === groupId && isRunningProcess(pid));
}

/** Whether the port accepts a connection. It is asked by a plain connect, not through the library. */
export async function accepts(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function livingProcesses(): number[] {
  return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? Number(name) : []));
}

/**
 * Recognises the server by its command line, which neither a zombie has nor a child that has not yet become the server.
 */
function isServer(commandLine: string, folder: string): boolean {
  const words = commandLine.split('\0');
  return words[3]?.endsWith('/witness.py') === true && words[4] === folder;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}
