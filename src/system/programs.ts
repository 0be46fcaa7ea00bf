/**
 * Runs ps(1) and lsof(1) where there is no /proc: in this turn, for a proof that a signal rests on, or beside the event
 * loop. That nobody was found is one answer; a program that failed says nothing about anybody.
 */

import { errorText, systemError } from '../support/errors.js';
import { builtIn } from '../support/load.js';

type Ended = { status: number | null; signal?: string | null; stdout: string; stderr: string; error?: unknown };

const OPTIONS = {
  encoding: 'utf8',
  // lsof examines every mount: a dead one must not block this process for good.
  timeout: 10_000,
  maxBuffer: 64 * 1024 * 1024,
} as const;

/** @throws a system error when the program cannot tell */
export function askNow(command: string, args: readonly string[], env = process.env): string {
  return answer(command, builtIn('node:child_process').spawnSync(command, args, { ...OPTIONS, env }));
}

/** As askNow(), in a later turn. */
export async function askAside(command: string, args: readonly string[], env = process.env): Promise<string> {
  const ended = await new Promise<Ended>((resolve) => {
    builtIn('node:child_process').execFile(command, args, { ...OPTIONS, env }, (error, stdout, stderr) => {
      const { code = 0, signal = null } = error ?? {};
      if (typeof code === 'number') resolve({ status: signal === null ? code : null, signal, stdout, stderr });
      else resolve({ status: null, stdout, stderr, error });
    });
  });
  return answer(command, ended);
}

/** Both programs exit with 1 when they have found nobody, and write to stderr when something was wrong. */
function answer(command: string, { status, signal, stdout, stderr, error }: Ended): string {
  if (error !== undefined) throw systemError(`${command} cannot be run (${errorText(error)}); install ${command}`);
  if (status === 0 || (status === 1 && (stdout !== '' || stderr === ''))) return stdout;
  throw systemError(`${command} failed (${signal ?? `exit code ${status}`}): ${stderr.trim()}`);
}
