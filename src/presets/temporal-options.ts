/** The options of `temporalDevServer`, and what is asked of them before Temporal sees them. */

import { join } from 'node:path';
import type { ProcessSpec } from '../state/process-spec.js';
import { builtIn } from '../support/load.js';
import {
  absolutePath,
  check,
  checkList,
  checkRecord,
  expandHome,
  isArgument,
  isPort,
  isText,
  wrongOption,
} from '../support/options.js';

/** What can be said of a Temporal dev server; nothing has to be. */
export interface TemporalDevServerOptions {
  /** Folder for lock, PID file, log and database; a leading `~` is the home folder. @default '~/.stigmer' */
  stateDir?: string;
  /**
   * The Temporal CLI: a path (a leading `~` is the home folder) or a name found on PATH.
   * @default the first there is: STATE_DIR/bin/temporal, ~/.stigmer/bin/temporal, `temporal` on PATH
   */
  command?: string;
  /** TCP port of the gRPC frontend. @default 7233 */
  port?: number;
  /**
   * Address to listen on; `0.0.0.0` and `::` are asked, and reported, on 127.0.0.1. Temporal's parts reach each other on
   * 127.0.0.1: on any other single address 1.9.1 comes up and starts no workflow, so that it never counts as ready.
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
   * Custom search attributes, name to type: Text, Keyword, Int, Double, Bool, Datetime or KeywordList. Temporal registers them
   * where it creates a namespace: one that an existing database has already does not get new ones.
   */
  searchAttributes?: Readonly<Record<string, string>>;
  /** Temporal's dynamic configuration, key to value, as JSON has it. */
  dynamicConfig?: Readonly<Record<string, unknown>>;
  /** @default Temporal's own: `warn`, with the usual warnings of a shutdown left out */
  logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'never';
  /** Further arguments, after all others. */
  extraArgs?: readonly string[];
  /** @default as in ProcessSpec */
  lifetime?: ProcessSpec['lifetime'];
  /** Milliseconds. @default as in ProcessSpec */
  startTimeoutMs?: number;
  /** Milliseconds. Temporal takes about 1.5 s to end. @default as in ProcessSpec */
  stopTimeoutMs?: number;
}

const IN_MEMORY = ':memory:';
const LOOPBACK = '127.0.0.1';
const DEFAULT_PORT = 7233;
const DEFAULT_UI_PORT = 8233;
const LOG_LEVELS: readonly unknown[] = ['debug', 'info', 'warn', 'error', 'never'];
const ATTRIBUTE_TYPES: readonly unknown[] = ['Text', 'Keyword', 'Int', 'Double', 'Bool', 'Datetime', 'KeywordList'];

/** Checked, with every default in place, and as the command line has them. */
export interface CompleteTemporalOptions {
  readonly stateDir: string;
  /** Undefined: it is up to what is installed. */
  readonly command: string | undefined;
  readonly ip: string;
  /** Where a client finds what listens on `ip`. */
  readonly host: string;
  readonly port: number;
  readonly uiPort: number | false;
  /** Absolute; undefined keeps nothing. */
  readonly database: string | undefined;
  /** All that there will be, `default` included. */
  readonly namespaces: readonly string[];
  /** `Name=Type` */
  readonly searchAttributes: readonly string[];
  /** `key=JSON` */
  readonly dynamicConfig: readonly string[];
  readonly logLevel: TemporalDevServerOptions['logLevel'];
  readonly extraArgs: readonly string[];
}

/** @throws TypeError naming option, expectation and value */
export function completeTemporalOptions({
  stateDir = '~/.stigmer',
  command,
  port = DEFAULT_PORT,
  ip = LOOPBACK,
  uiPort = port === DEFAULT_PORT ? DEFAULT_UI_PORT : false,
  dbFilename,
  namespaces = [],
  searchAttributes = {},
  dynamicConfig = {},
  logLevel,
  extraArgs = [],
}: TemporalDevServerOptions): CompleteTemporalOptions {
  const folder = absolutePath('stateDir', stateDir);
  check('command', command, (it) => it === undefined || isText(it), 'a non-empty string without NUL');
  check('port', port, isPort, 'a whole number from 1 to 65535');
  check('uiPort', uiPort, (it) => it === false || isPort(it), 'false or a whole number from 1 to 65535');
  check('uiPort', uiPort, (it) => it !== port, 'another port than "port"');
  check('ip', ip, isAddress, 'an IPv4 or IPv6 address, or "localhost"');
  checkList('namespaces', namespaces, isNamespace, 'letters, digits, ".", "_" or "-", the first a letter or digit');
  check('logLevel', logLevel, (it) => it === undefined || LOG_LEVELS.includes(it), `one of ${LOG_LEVELS.join(', ')}`);
  checkList('extraArgs', extraArgs, isArgument, 'a string without NUL');
  return {
    stateDir: folder,
    command: command === undefined ? undefined : expandHome(command),
    ip,
    host: reachableHost(ip),
    port,
    uiPort,
    database: databasePath(dbFilename ?? join(folder, 'temporal-data', 'temporal.db')),
    namespaces: [...new Set(['default', ...namespaces])],
    searchAttributes: checkedAttributes(searchAttributes),
    dynamicConfig: checkedConfig(dynamicConfig),
    logLevel,
    extraArgs,
  };
}

function isAddress(value: unknown): boolean {
  // Any other name would be looked up by Temporal, and bound where the answer leads to.
  return value === 'localhost' || (isText(value) && builtIn('node:net').isIP(value) !== 0);
}

/** The parts of the server, too, reach a wildcard address on 127.0.0.1: so it is there wherever the server works, ::1 is not. */
function reachableHost(ip: string): string {
  return ['0.0.0.0', '::', 'localhost'].includes(ip) ? LOOPBACK : ip;
}

function isNamespace(value: unknown): boolean {
  return typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/.test(value);
}

/** Temporal gives the name to SQLite as a URI: with `?`, `#` or `%41` in it the data would be in another file than the one named. */
function databasePath(dbFilename: string): string | undefined {
  if (dbFilename === IN_MEMORY) return undefined;
  const path = absolutePath('dbFilename', dbFilename);
  if (/[?#]|%[0-9a-f]{2}/i.test(path))
    throw wrongOption('dbFilename', 'a path without "?", "#" and percent-encoding', path);
  return path;
}

function checkedAttributes(attributes: Readonly<Record<string, string>>): string[] {
  checkRecord('searchAttributes', attributes);
  return Object.entries(attributes).map(([name, type]) => {
    checkKey('searchAttributes', name);
    const expectation = `one of ${ATTRIBUTE_TYPES.join(', ')}`;
    check(`searchAttributes.${name}`, type, (it) => ATTRIBUTE_TYPES.includes(it), expectation);
    return `${name}=${type}`;
  });
}

function checkedConfig(config: Readonly<Record<string, unknown>>): string[] {
  checkRecord('dynamicConfig', config);
  return Object.entries(config).map(([key, value]) => {
    checkKey('dynamicConfig', key);
    return `${key}=${toJson(`dynamicConfig.${key}`, value)}`;
  });
}

/** It ends at the first "=" on the command line. */
function checkKey(option: string, key: string): void {
  check(
    option,
    key,
    (it) => isText(it) && !it.includes('='),
    'an object with names that are not empty and have no "="',
  );
}

/** JSON has no NaN and no Infinity, and makes `null` of them. */
function toJson(option: string, value: unknown): string {
  const expectation = 'a value that JSON can express';
  if (typeof value === 'number' && !Number.isFinite(value)) throw wrongOption(option, expectation, value);
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    // A BigInt, or an object that contains itself.
    throw new TypeError(`"${option}" must be ${expectation}`, { cause: error });
  }
  if (json === undefined) throw wrongOption(option, expectation, value);
  return json;
}
