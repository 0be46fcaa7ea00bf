/**
 * A managed process that is only the wrapper of the server. The server has the log open, but does not carry the lock.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess, killUnlessGone, signalUnlessGone } from './evidence.js';
import { plainFixture } from './paths.js';
import { nodeSpec } from './servers.js';
import { argumentsOf, processesNaming } from './tied.js';
import { eventually } from './waiting.js';

type Test = Parameters<typeof nodeSpec>[0];

const SERVER = plainFixture('server.mjs');

/**
 * The command in front of the server's command line, made from that command line; each is a program that people use so.
 */
const wrappers = {
  'npm run': () => ({ command: 'npm', args: ['run', '--silent', 'serve'] }),
  npx: (words: readonly string[]) => ({ command: 'npx', args: ['-c', words.join(' ')] }),
  node: (words: readonly string[], flags: readonly string[]) => ({
    command: process.execPath,
    args: [plainFixture('launcher.mjs'), ...flags, ...words],
  }),
  python: (words: readonly string[], flags: readonly string[]) => ({
    command: 'python3',
    args: [plainFixture('launcher.py'), ...flags, ...words],
  }),
};

export type Wrapper = keyof typeof wrappers;

export const WRAPPERS = Object.keys(wrappers) as Wrapper[];

export interface WrappedOptions {
  /** Without a port there is no check to ask. @default false */
  hasPort?: boolean;
  /** Arguments of launcher.mjs or launcher.py. */
  flags?: readonly string[];
  /** The behaviour of server.mjs. */
  behaviour?: Record<string, string | number>;
}

/** The spec of server.mjs behind a wrapper. Any process of it that is left is killed after the test. */
export async function wrappedSpec(
  test: Test,
  wrapper: Wrapper,
  { hasPort = false, flags = [], behaviour = {} }: WrappedOptions = {},
  changes: Partial<ProcessSpec> = {},
): Promise<ProcessSpec> {
  // Under this name the process is stopped after the test, whatever its command is.
  const { port, ...plain } = await nodeSpec(test, {}, { name: 'wrapped' });
  const { stateDir } = plain;
  const cwd = dirname(stateDir);
  test.after(() => processesNaming(stateDir).forEach(killUnlessGone));
  // The folder identifies the server: no other one has it on its command line.
  const settings = Object.entries({ print: stateDir, ...(hasPort ? { port } : {}), ...behaviour });
  const words = ['node', SERVER, ...settings.map(([key, value]) => `--${key}=${value}`)];
  writeFileSync(`${cwd}/package.json`, JSON.stringify({ private: true, scripts: { serve: words.join(' ') } }));
  const env = { npm_config_update_notifier: 'false', npm_config_cache: `${cwd}/npm` };
  const spec = { ...plain, ...wrappers[wrapper](words, flags), cwd, env, ...changes };
  return hasPort ? { ...spec, port } : spec;
}

/** PIDs of all running servers of this spec, whichever process is their parent. */
export function serversOf({ stateDir }: ProcessSpec): number[] {
  return processesNaming(stateDir).filter((pid) => argumentsOf(pid)[1] === SERVER);
}

/** The only server behind the wrapper that a start has just called ready. @throws when there are two */
export async function serverOf(spec: ProcessSpec): Promise<number> {
  const { logFile } = new ProcessManager(spec).spec;
  const [server = 0, ...others] = await eventually('the log names every running server', () => {
    const found = serversOf(spec);
    const logText = readFileSync(logFile, 'utf8');
    return found.length > 0 && found.every((pid) => logText.includes(`server ${pid} `)) ? found : undefined;
  });
  assert.deepEqual(others, [], 'other servers');
  return server;
}

export interface Wrapped {
  manager: ProcessManager;
  spec: ProcessSpec;
  wrapper: number;
  server: number;
}

export async function startWrapped(test: Test, ...args: WrappedArguments): Promise<Wrapped> {
  const spec = await wrappedSpec(test, ...args);
  const manager = new ProcessManager(spec);
  const { pid: wrapper } = await manager.start();
  return { manager, spec, wrapper, server: await serverOf(spec) };
}

type WrappedArguments =
  Parameters<typeof wrappedSpec> extends [unknown, ...infer Rest extends readonly unknown[]] ? Rest : never;

/** Ends the wrapper alone, as a signal to its PID does; the server continues, and nothing carries the lock. */
export async function loseWrapper(
  { manager, wrapper, server }: Pick<Wrapped, 'manager' | 'wrapper' | 'server'>,
  signal: NodeJS.Signals = 'SIGKILL',
): Promise<void> {
  assert.notEqual(wrapper, server);
  signalUnlessGone(wrapper, signal);
  await eventually('the wrapper has ended', () => !isRunningProcess(wrapper));
  await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
  assert.equal(isRunningProcess(server), true, 'the server');
}

/** The PIDs that the log names after this word. */
export function loggedPids({ spec: { logFile } }: ProcessManager, word: string): number[] {
  const lines = readFileSync(logFile, 'utf8').matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'));
  return [...lines].map((match) => Number(match[1]));
}
