/** Runs programs for the checks: gives all of their output and how they ended. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** @typedef {{ exitCode: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string }} Ended */

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, timeoutMs?: number, echo?: boolean }} options the program is killed after `timeoutMs`;
 * with `echo` its output is printed here as well
 * @returns {Promise<Ended>}
 */
export async function runProgram(command, args, { cwd, env, timeoutMs = 300_000, echo = false }) {
  const child = spawn(command, args, {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const ended = { stdout: '', stderr: '' };
  for (const stream of /** @type {const} */ (['stdout', 'stderr'])) {
    child[stream].setEncoding('utf8').on('data', (text) => {
      ended[stream] += text;
      if (echo) process[stream].write(text);
    });
  }
  const [exitCode, signal] = await once(child, 'close');
  return { exitCode, signal, ...ended };
}

/**
 * The same, for a program that must succeed.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, timeoutMs?: number }} options
 * @returns {Promise<Ended>}
 * @throws Error when it fails
 */
export async function mustRun(command, args, options) {
  const ended = await runProgram(command, args, options);
  if (ended.exitCode !== 0) throw new Error(describe([command, ...args].join(' '), ended));
  return ended;
}

/** Says how the program ended, with the end of its output. @param {string} what @param {Ended} ended */
export function describe(what, { exitCode, signal, stdout, stderr }) {
  const lastLines = `${stdout}${stderr}`.trim().split('\n').slice(-30).join('\n    ');
  return `"${what}" ended with ${signal ?? `exit code ${exitCode}`}\n    ${lastLines}`;
}

/**
 * The environment without what `npm run` added to it, for programs that a user would run in a terminal.
 * @param {NodeJS.ProcessEnv} changes
 * @returns {NodeJS.ProcessEnv}
 */
export function userEnvironment(changes) {
  const isOfTheUser = (/** @type {string} */ name) =>
    !/^npm_/i.test(name) || /^npm_config_(registry|cafile|userconfig|cache|nodedir|https?_proxy|noproxy)$/i.test(name);
  // The variable CI changes what package managers do by default.
  const env = { ...process.env, CI: undefined };
  return { ...Object.fromEntries(Object.entries(env).filter(([name]) => isOfTheUser(name))), ...changes };
}
