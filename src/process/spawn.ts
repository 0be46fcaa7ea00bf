/**
 * Start the managed process: the only user of node:child_process for it.
 *
 * execvp(3) hands a file that is no program to /bin/sh, and a missing cwd is reported as ENOENT of the command; libuv does
 * not tell them apart. So everything is looked at before it is blamed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { basename, delimiter, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandNotFoundError, errorText, SpawnError } from '../shared/errors.js';
import { isFolder } from '../shared/folders.js';
import type { OpenLog } from './log-file.js';
import type { CompleteSpec } from './process-spec.js';
import { type ProcessInfo, processTable } from './process-table.js';

export interface SpawnedProcess {
  readonly child: ChildProcess;
  readonly process: ProcessInfo;
}

const TETHER = fileURLToPath(new URL('./tether.sh', import.meta.url));

/** Shell arithmetic has at least 32 bits; this is 24 days. */
const MAX_GRACE_MS = 0x7fffffff;

/** Where libc looks when PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/bin:/usr/bin';

/**
 * The process leads a session and a group of its own, writes to the log itself, and inherits the lock as its descriptor 3.
 * @throws CommandNotFoundError | SpawnError
 */
export async function spawnProcess(
  spec: CompleteSpec,
  { executable, log, lockFd }: { executable: string; log: OpenLog; lockFd: number },
): Promise<SpawnedProcess> {
  const env = environment(spec);
  const options = { cwd: spec.cwd, env, detached: true };
  const stdio = ['ignore' as const, log.fd, log.fd, lockFd];
  let child: ChildProcess;
  try {
    child =
      spec.lifetime === 'tied'
        ? spawn('/bin/sh', tetherArguments(spec, executable, env), { ...options, stdio: [...stdio, 'pipe'] })
        : spawn(executable, spec.args, { ...options, stdio, argv0: spec.command });
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  }
  if (child.pid === undefined) {
    const [error] = await once(child, 'error').catch((reason) => [reason]);
    throw spawnError(spec, errorText(error), error);
  }
  child.on('error', () => undefined); // A failed child.kill() would surface here; signals are sent elsewhere.
  child.unref();
  if (spec.lifetime === 'tied') holdPipe(child);
  // Not collected yet even if it died at once: libuv does that in the event loop, not in this turn.
  const process = processTable().lookUp(child.pid);
  if (process === undefined) throw spawnError(spec, `PID ${child.pid} is not in the process table`, undefined);
  return { child, process };
}

/**
 * The file that will be run: as execvp(3) finds it, and known to be a program.
 * @throws CommandNotFoundError when there is no such file, or it is not executable
 * @throws SpawnError when the cwd is missing, or the file is no program
 */
export function findCommand(spec: CompleteSpec): string {
  const cwd = spec.cwd ?? process.cwd();
  if (!isFolder(cwd)) throw spawnError(spec, `the working directory "${cwd}" does not exist`, undefined);
  const candidates = spec.command.includes('/')
    ? [resolve(cwd, spec.command)]
    : (environment(spec).PATH ?? DEFAULT_PATH).split(delimiter).map((folder) => resolve(cwd, folder, spec.command));
  const executable = candidates.find(isExecutable);
  if (executable === undefined) throw commandNotFoundError(spec, candidates);
  if (!isProgram(executable)) {
    throw spawnError(spec, `"${executable}" is not a program: it has no #! line and no known binary format`, undefined);
  }
  return executable;
}

/**
 * The watcher of a tied process, a shell file that is shipped beside this one.
 * @throws SpawnError when it is not there (a bundle that left it out, a package inside an archive)
 */
export function requireTether(spec: CompleteSpec): void {
  if (spec.lifetime === 'tied' && !existsSync(TETHER)) {
    throw spawnError(
      spec,
      `"${TETHER}", which a tied process needs, is missing; install flock-process unbundled`,
      undefined,
    );
  }
}

/** Is it the watcher of a tied process? The shell that is about to become the process itself is none. */
export function isWatcher({ pid, groupId }: ProcessInfo): boolean {
  return pid !== groupId && processTable().commandNames(pid).includes(basename(TETHER));
}

function tetherArguments(spec: CompleteSpec, executable: string, env: Record<string, string>): string[] {
  // A shell drops variables whose names it could not set itself: env(1) puts them back.
  const odd = Object.entries(env).filter(([name]) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  const prefix = odd.length === 0 ? [] : ['/usr/bin/env', ...odd.map(([name, value]) => `${name}=${value}`)];
  const graceMs = Math.min(spec.stopTimeoutMs, MAX_GRACE_MS);
  return [TETHER, spec.stopSignal.slice('SIG'.length), String(Math.ceil(graceMs)), ...prefix, executable, ...spec.args];
}

/** The watcher reads the end of this pipe: nobody writes into it, and it is closed with the process or with us. */
function holdPipe(child: ChildProcess): void {
  const pipe = child.stdio[4] as Socket;
  pipe.unref();
  pipe.on('error', () => undefined); // The other end is closed when the watcher goes first.
  child.once('exit', () => pipe.destroy());
}

function environment({ env }: CompleteSpec): Record<string, string> {
  const merged = Object.entries({ ...process.env, ...env });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // ENOENT, EACCES, ENOTDIR, ELOOP: execvp(3) goes on to the next folder.
    return false;
  }
}

/** ELF, Mach-O (both byte orders, 32 and 64 bit, universal), or a script with an interpreter. */
const MAGIC_NUMBERS = ['7f454c46', 'feedface', 'feedfacf', 'cefaedfe', 'cffaedfe', 'cafebabe'];

function isProgram(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch {
    // EACCES: it may be executable without being readable. The kernel will judge.
    return true;
  }
  try {
    const start = Buffer.alloc(4);
    readSync(fd, start, 0, 4, 0);
    return start.toString('latin1').startsWith('#!') || MAGIC_NUMBERS.includes(start.toString('hex'));
  } finally {
    closeSync(fd);
  }
}

function commandNotFoundError(spec: CompleteSpec, candidates: readonly string[]): CommandNotFoundError {
  const existing = candidates.find((path) => existsSync(path));
  const why =
    existing !== undefined
      ? `"${existing}" is not an executable file`
      : spec.command.includes('/')
        ? 'no such file'
        : 'it is not on PATH';
  const hint = spec.installHint === undefined ? '' : `. ${spec.installHint}`;
  return new CommandNotFoundError(`Cannot start ${spec.name}: command "${spec.command}" not found: ${why}${hint}`, {
    command: spec.command,
  });
}

/** Also for what comes before the spawn: a log or a folder that cannot be written. */
export function spawnError({ name }: Pick<CompleteSpec, 'name'>, why: string, cause: unknown): SpawnError {
  return new SpawnError(`Cannot start ${name}: ${why}`, { cause });
}
