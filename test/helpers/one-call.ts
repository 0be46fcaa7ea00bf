/** One call of the library in a process of its own, which must then end by itself. */
import type { SpawnOptions } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ProcessSpec } from '../../src/index.js';
import type { OneCall, Outcome } from '../fixtures/one-call.js';
import { fixture, plainFixture } from './paths.js';
import { startProgram } from './programs.js';
import { RemoteError } from './remote-manager.js';

type Test = Parameters<typeof startProgram>[0];

export interface OneCallOptions extends SpawnOptions {
  nodeArgs?: readonly string[];
  /** A command that runs the command line of the call, which follows it: `['prlimit', '--nofile=40']`. */
  wrapper?: readonly string[];
}

/** Runs a call or a fixture as user `nobody`: spread this into its options. The test must run as root. */
export const asNobody = { uid: 65_534, gid: 65_534 } as const;

/** The reason to skip a test that changes users when the tests do not run as root. CI runs them as root. */
export const unlessRoot = process.getuid?.() === 0 ? false : 'needs root';

/** Bits of CapEff in proc(5), from capabilities(7). */
const CAPABILITIES = { dac_read_search: 2, sys_ptrace: 19, sys_admin: 21 } as const;

/**
 * The reason to skip a test that needs capabilities that a container may not give root: to mount, to inspect processes
 * of other users.
 */
export function unlessCapable(...names: (keyof typeof CAPABILITIES)[]): string | false {
  if (process.platform !== 'linux') return 'needs Linux';
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  const missing = names.filter((name) => ((BigInt(`0x${effective}`) >> BigInt(CAPABILITIES[name])) & 1n) === 0n);
  return missing.length === 0 ? false : `needs the capabilities ${missing.join(', ')}`;
}

/** The command line of a call, for another program to run. */
export function oneCallCommand(method: OneCall['method'], spec: ProcessSpec): [string, ...string[]] {
  return [process.execPath, fixture('one-call'), JSON.stringify({ method, spec } satisfies OneCall)];
}

/** The result of the call. @throws the error of the call */
export async function callElsewhere<T>(
  test: Test,
  method: OneCall['method'],
  spec: ProcessSpec,
  { nodeArgs = [], wrapper = [], ...options }: OneCallOptions = {},
): Promise<T> {
  const [node, ...args] = oneCallCommand(method, spec);
  const [command, ...words] = [...wrapper, node, ...nodeArgs, ...args];
  const { stdout, stderr } = await startProgram(test, command as string, words, options).ended();
  if (stdout === '') throw new Error(`no outcome: ${stderr}`);
  const outcome = JSON.parse(stdout) as Outcome;
  if ('error' in outcome) throw new RemoteError(outcome.error as ConstructorParameters<typeof RemoteError>[0]);
  return outcome.result as T;
}

/** Options of a call or a fixture whose process believes it runs on macOS: ps(1) and lsof(1) instead of /proc. */
export const onDarwin = { nodeArgs: ['--require', plainFixture('on-darwin.cjs')] } as const;

export function callOnDarwin<T>(test: Test, method: OneCall['method'], spec: ProcessSpec): Promise<T> {
  return callElsewhere(test, method, spec, onDarwin);
}
