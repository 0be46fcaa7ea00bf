/** The spec of a process, checked and completed: the one place where each default exists. */

import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { types } from 'node:util';
import {
  absolutePath,
  check,
  checkList,
  checkName,
  checkNumber,
  checkRecord,
  isArgument,
  isFunction,
  isPort,
  isText,
  optional,
  wrongOption,
} from '../support/options.js';

/** One process under one lock. Managers of one `lockFile` mean the same process, and must be given the same spec. */
export interface ProcessSpec {
  /** Short name: file names, PID file, messages. 1 to 100 letters, digits, `.`, `_`, `-`, the first a letter or digit. */
  name: string;
  /** Executable: a path, or a name found on PATH. Never run through a shell. A relative path counts from `cwd`. */
  command: string;
  /** Passed as they are: nothing is split or expanded. @default [] */
  args?: readonly string[];
  /**
   * Merged over `process.env`; `undefined` removes a variable. A tied or shared process gets only variables that a
   * shell can name: letters, digits and `_`, the first no digit. It inherits no others, and in `env` they are a
   * TypeError.
   */
  env?: Readonly<Record<string, string | undefined>>;
  /** Working directory. @default the caller's */
  cwd?: string;
  /** Folder for `NAME.lock`, `NAME.pid` and `logs/NAME.log`; a leading `~` is the home folder; created with mode 0700. */
  stateDir: string;
  /** @default STATE_DIR/NAME.lock */
  lockFile?: string;
  /** @default STATE_DIR/NAME.pid */
  pidFile?: string;
  /** stdout and stderr are appended here, straight from the process (no pipe that dies with us). @default STATE_DIR/logs/NAME.log */
  logFile?: string;
  /**
   * A start that spawns rotates a log over `overBytes` (0: at each start) under the lock: it moves to `.1`, `.1` to
   * `.2` and so on, and `keep` of them stay. @default { overBytes: 10 MiB, keep: 1 }
   */
  logRotation?: { overBytes?: number; keep?: number };
  /** Folders that the process needs, created (0700) under the lock right before the spawn. `cwd` can be one. */
  dataDirs?: readonly string[];
  /** Host of `port` and `readyPort`. @default '127.0.0.1' */
  host?: string;
  /** TCP port that must accept connections before the process counts as ready; nobody else may listen there. */
  port?: number;
  /**
   * A port on the same `host` that must accept connections too, but belongs to another process (a child, a backend): it
   * is checked, but neither reserved nor owned, and never refused as used.
   */
  readyPort?: number;
  /**
   * A line of the output (stdout, stderr) of this start that must appear before the process counts as ready, besides
   * port and isHealthy. Colour codes are removed, and of a long line the first 64 KiB count. A string must be contained
   * in the line. A RegExp with a group named `port` gives the port of a server that chose it itself: `port` may then be
   * left out, and `address` has the port of the line. Later callers learn from the journal that the line was seen.
   */
  readyLine?: string | RegExp;
  /**
   * Provides what must be there first (a download, a migration). The one start() that spawns calls it under the lock
   * before the spawn, while the others wait. What it returns replaces those fields for this spawn. Its time is not
   * start time. The signal is aborted when the start is unwanted, or `prepareTimeoutMs` is over; if that is ignored,
   * start() rejects 2 s later.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: it need not return anything.
  prepare?: (context: { readonly signal: AbortSignal }) => SpawnChanges | void | Promise<SpawnChanges | void>;
  /** Milliseconds. @default 600_000 */
  prepareTimeoutMs?: number;
  /**
   * What a `start()` does that finds the process running with another `command`, `args`, `env` (the spec's own
   * variables) or `cwd`, or with another file at the command's path (an upgrade). 'reuse' returns it, and names the
   * fields in `differences`; 'restart' restarts it, and is a TypeError for the lifetime 'shared'; 'refuse' throws
   * OptionsMismatchError. A supervisor ignores differences.
   * @default 'reuse'
   */
  whenDifferent?: 'reuse' | 'restart' | 'refuse';
  /**
   * Called after the port accepts; must return true before the process counts as ready or healthy. An exception, or no
   * answer within `checkTimeoutMs`, counts as false, and the error that a start ends with names it. With no port,
   * readyLine or isHealthy the process is ready when it is still alive 100 ms after the spawn.
   */
  isHealthy?: (instance: Instance, signal: AbortSignal) => boolean | Promise<boolean>;
  /**
   * PID of a living owner under another scheme (a PID in a file, an older release). Called by `start()` and `become()`
   * under the lock, right before the spawn, within `checkTimeoutMs`: they then throw PredecessorError; by `status()`
   * only when the lock is free: 'unknown' with that PID; never by `stop()`. The caller's own PID counts as none. An
   * exception, or no answer in time, is an error of the start.
   */
  predecessor?: () => number | undefined | Promise<number | undefined>;
  /**
   * 'detached': outlives this process; any later process can stop it or ask its status.
   * 'tied': dies with this process (or worker thread), even when it is killed with SIGKILL. Covers the process group, not
   * what leaves it (setsid).
   * 'shared': lives as long as any process (or worker thread) that called `start()` and has neither called `leave()` nor
   * died: the kernel counts them.
   * A process that is found running keeps the lifetime that it was started with.
   * @default 'detached'
   */
  lifetime?: 'detached' | 'tied' | 'shared';
  /**
   * Lifetime 'shared': for how many milliseconds the process is kept after the last user has left or died. Whoever
   * calls start() meanwhile joins it. @default 0
   */
  lingerMs?: number;
  /** Milliseconds from the call to ready; a contender that gets to spawn has the whole time again. @default 10_000 */
  startTimeoutMs?: number;
  /** Milliseconds for one look at ports and health together; a longer one counts as failed. @default 2_000 */
  checkTimeoutMs?: number;
  /** Milliseconds between `stopSignal` and SIGKILL, both sent to the whole process group. 0 kills at once. @default 10_000 */
  stopTimeoutMs?: number;
  /** @default 'SIGTERM' */
  stopSignal?: NodeJS.Signals;
  /** Ends the message of a CommandNotFoundError: how to get the command. */
  installHint?: string;
}

/** What `prepare` may replace for one spawn. */
export type SpawnChanges = Partial<Pick<ProcessSpec, 'command' | 'args' | 'env' | 'cwd'>>;

/** The process as it was when the call resolved; the object does not change with it. */
export interface Instance {
  readonly pid: number;
  readonly startedAt: Date;
  /** `host:port`, when the spec has a port, or its ready line named one. */
  readonly address: string | undefined;
  /** True when the call did not spawn the process: it ran already, or another process was quicker. */
  readonly reused: boolean;
  /**
   * For a reused process: fields in which it differs from this manager's spec: 'command', 'args', 'cwd', 'env.NAME',
   * 'executable'. Otherwise empty, also in what `isHealthy` is given.
   */
  readonly differences: readonly string[];
}

type Optional = 'port' | 'readyPort' | 'readyLine' | 'prepare' | 'cwd' | 'isHealthy' | 'predecessor' | 'installHint';

/** The spec with every default in place and every path absolute. */
export type CompleteSpec = Readonly<Required<Omit<ProcessSpec, Optional>> & Pick<ProcessSpec, Optional>> & {
  readonly logRotation: Readonly<Required<NonNullable<ProcessSpec['logRotation']>>>;
};

const isReadyLine = (it: unknown) => types.isRegExp(it) || (isText(it) && !it.includes('\n'));
const isLifetime = (it: unknown) => it === 'detached' || it === 'tied' || it === 'shared';
const isDecision = (it: unknown) => it === 'reuse' || it === 'restart' || it === 'refuse';
const isSignal = (it: unknown) => typeof it === 'string' && Object.hasOwn(osConstants.signals, it);

/** @throws TypeError naming option, expectation and value */
export function completeSpec(spec: ProcessSpec): CompleteSpec {
  if (typeof spec !== 'object' || spec === null) throw wrongOption('spec', 'an object', spec);
  checkName('name', spec.name);
  check('command', spec.command, isText, 'a non-empty string without NUL');
  checkList('args', spec.args ?? [], isArgument, 'a string without NUL');
  checkList('dataDirs', spec.dataDirs ?? [], isText, 'a non-empty path without NUL');
  checkRecord('env', spec.env ?? {});
  checkRecord('logRotation', spec.logRotation ?? {});
  const { overBytes = 10 * 1024 * 1024, keep = 1 } = spec.logRotation ?? {};
  checkNumber('logRotation.overBytes', overBytes, { least: 0 });
  const isKeep = (it: unknown) => Number.isInteger(it) && Number(it) >= 0 && Number(it) <= 1_000;
  check('logRotation.keep', keep, isKeep, 'a whole number from 0 to 1000');
  const stateDir = absolutePath('stateDir', spec.stateDir);
  const complete: CompleteSpec = {
    ...spec,
    stateDir,
    args: [...(spec.args ?? [])],
    env: { ...spec.env },
    lockFile: absolutePath('lockFile', spec.lockFile ?? join(stateDir, `${spec.name}.lock`)),
    pidFile: absolutePath('pidFile', spec.pidFile ?? join(stateDir, `${spec.name}.pid`)),
    logFile: absolutePath('logFile', spec.logFile ?? join(stateDir, 'logs', `${spec.name}.log`)),
    logRotation: { overBytes, keep },
    dataDirs: (spec.dataDirs ?? []).map((folder, index) => absolutePath(`dataDirs[${index}]`, folder)),
    host: spec.host ?? '127.0.0.1',
    lifetime: spec.lifetime ?? 'detached',
    lingerMs: spec.lingerMs ?? 0,
    prepareTimeoutMs: spec.prepareTimeoutMs ?? 600_000,
    whenDifferent: spec.whenDifferent ?? 'reuse',
    startTimeoutMs: spec.startTimeoutMs ?? 10_000,
    checkTimeoutMs: spec.checkTimeoutMs ?? 2_000,
    stopTimeoutMs: spec.stopTimeoutMs ?? 10_000,
    stopSignal: spec.stopSignal ?? 'SIGTERM',
    ...(spec.cwd === undefined ? {} : { cwd: absolutePath('cwd', spec.cwd) }),
  };
  for (const option of ['lingerMs', 'prepareTimeoutMs', 'startTimeoutMs', 'checkTimeoutMs', 'stopTimeoutMs'] as const) {
    checkNumber(option, complete[option], { least: 0, unit: 'milliseconds' });
  }
  check('host', complete.host, isText, 'a non-empty string without NUL');
  check('port', spec.port, optional(isPort), 'a whole number from 1 to 65535');
  check('readyPort', spec.readyPort, optional(isPort), 'a whole number from 1 to 65535');
  check('readyLine', spec.readyLine, optional(isReadyLine), 'a RegExp, or a non-empty string without line ends');
  check('isHealthy', spec.isHealthy, optional(isFunction), 'a function');
  check('predecessor', spec.predecessor, optional(isFunction), 'a function');
  check('prepare', spec.prepare, optional(isFunction), 'a function');
  check('lifetime', complete.lifetime, isLifetime, '"detached", "tied" or "shared"');
  check('whenDifferent', complete.whenDifferent, isDecision, '"reuse", "restart" or "refuse"');
  const isRestart = complete.whenDifferent === 'restart' && complete.lifetime === 'shared';
  check('whenDifferent', complete.whenDifferent, () => !isRestart, '"reuse" or "refuse" for the lifetime "shared"');
  check('stopSignal', complete.stopSignal, isSignal, 'a signal name such as "SIGTERM"');
  check('installHint', spec.installHint, optional(isArgument), 'a string without NUL');
  checkEnvironment(complete);
  checkDistinct(complete);
  return Object.freeze(complete);
}

/** `NAME.journal`, `NAME.users`: they lie beside the lock file, with its base name. */
export function besideLockFile({ lockFile }: Pick<CompleteSpec, 'lockFile'>, extension: 'journal' | 'users'): string {
  return `${lockFile.replace(/\.lock$/, '')}.${extension}`;
}

function checkEnvironment({ env, lifetime }: CompleteSpec): void {
  const isName = (it: unknown) => isText(it) && !it.includes('=');
  const isShellName = (it: unknown) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(String(it));
  const shellNames = `an object with names of letters, digits and "_", the first no digit, for the lifetime "${lifetime}"`;
  for (const [name, value] of Object.entries(env)) {
    check('env', name, isName, 'an object with names that have no "="');
    check(`env.${name}`, value, optional(isArgument), 'a string without NUL, or undefined');
    // /bin/sh, which becomes a tied or shared process, drops the variables that it could not set itself.
    if (lifetime !== 'detached' && value !== undefined) check('env', name, isShellName, shellNames);
  }
}

function checkDistinct({ lockFile, pidFile, logFile }: CompleteSpec): void {
  const seen = new Map([
    [besideLockFile({ lockFile }, 'journal'), 'the journal beside the lock file'],
    [besideLockFile({ lockFile }, 'users'), 'the list of users beside the lock file'],
  ]);
  for (const [option, path] of Object.entries({ lockFile, pidFile, logFile })) {
    const isMovedLog = path.startsWith(`${logFile}.`) && /^\d+$/.test(path.slice(logFile.length + 1));
    const other = isMovedLog ? 'one to which the log is moved' : seen.get(path);
    if (other !== undefined) throw wrongOption(option, `another file than ${other}`, path);
    seen.set(path, `"${option}"`);
  }
}

/** How long a killed process may take to end: the kernel needs milliseconds, unless the process hangs in a device. */
export const KILL_WAIT_MS = 5_000;

/** The longest time that a stop may take, and so the longest that anybody waits for one. */
export function stopLimitMs({ stopTimeoutMs }: Pick<CompleteSpec, 'stopTimeoutMs'>): number {
  return 2 * stopTimeoutMs + KILL_WAIT_MS;
}
