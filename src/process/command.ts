/**
 * Which file is run. execvp(3) hands a file that is no program to /bin/sh, and a missing cwd is reported as ENOENT of the
 * command; libuv does not tell them apart. So everything is looked at before it is blamed.
 */
import { closeSync, constants, existsSync, openSync, readSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';
import { CommandNotFoundError, SpawnError } from '../shared/errors.js';
import { isExecutableFile } from '../shared/executable.js';
import { isFolder } from '../shared/folders.js';
import type { CompleteSpec } from './process-spec.js';

/** Where libc looks when PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/bin:/usr/bin';

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
  const executable = candidates.find(isExecutableFile);
  if (executable === undefined) throw commandNotFoundError(spec, candidates);
  if (!isProgram(executable)) {
    throw spawnError(spec, `"${executable}" is not a program: it has no #! line and no known binary format`, undefined);
  }
  return executable;
}

/** What the process finds in its environment. */
export function environment({ env }: CompleteSpec): Record<string, string> {
  const merged = Object.entries({ ...process.env, ...env });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== undefined));
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
