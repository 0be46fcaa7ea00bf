/**
 * What a process was spawned with, as the journal records it, and what differs now: the command, the arguments,
 * variables, the working directory, or the file at the path of the command (an upgrade). Values are recorded only as
 * salted hashes, for an environment may hold secrets.
 */

import { statSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';
import { inspect } from 'node:util';
import { debugLog } from '../support/debug.js';
import { errorText, OptionsMismatchError } from '../support/errors.js';
import { isExecutableFile } from '../support/files.js';
import { builtIn } from '../support/load.js';
import { textOf } from './journal-file.js';
import type { JournalState } from './journal-state.js';
import type { CompleteSpec, ProcessSpec } from './process-spec.js';

const log = debugLog('drift');

/** Readers skip a line that is longer than 8 KiB, and a `spawn` line holds more than the hashes. */
const MAX_HASHES_LENGTH = 4 * 1024;

/** 96 bits of the hash: no two values share them by chance. */
const HASH_LENGTH = 16;

type Hashes = Readonly<Record<string, unknown>>;
type Compared = Pick<CompleteSpec, 'command' | 'args' | 'cwd' | 'env'>;

type FileIdentity = Readonly<Record<string, string>>;

/**
 * To be called before the spawn: a file replaced in between then counts as another one. Undefined for a file that
 * prepare() has chosen instead, which is not compared.
 */
export function fileToSpawn(spec: Compared & Pick<CompleteSpec, 'prepare'>, executable: string) {
  const isOwn = spec.prepare === undefined || executables(spec).find(isExecutableFile) === executable;
  return isOwn ? identityOf(executable) : undefined;
}

/** Fields of the `spawn` line. */
export function fingerprint(spec: Compared, file: FileIdentity | undefined): Readonly<Record<string, unknown>> {
  const salt = builtIn('node:crypto').randomUUID();
  const byName = hashesOf(spec, salt, { isByName: true });
  const isShort = textOf(byName).length <= MAX_HASHES_LENGTH;
  return { salt, hashes: isShort ? byName : hashesOf(spec, salt), executable: file };
}

/** The fields in which the spec differs from what the process was spawned with; none if the journal does not say. */
export function differencesOf(spec: Compared, pid: number, { spawned, isTrusted }: JournalState): string[] {
  const { salt, hashes, executable } = spawned ?? {};
  if (spawned?.pid !== pid || !isTrusted || typeof salt !== 'string' || typeof hashes !== 'object') return [];
  const former = { ...hashes } as Hashes;
  const own: Hashes = hashesOf(spec, salt, { isByName: !('env' in former) });
  const fields = Object.keys({ ...former, ...own }).filter((field) => former[field] !== own[field]);
  if (!fields.includes('command') && isReplaced(executable, spec)) fields.push('executable');
  return fields;
}

/** @throws OptionsMismatchError when a process that differs is to be refused, not restarted */
export function refuseUnlessRestart(
  { name, whenDifferent }: CompleteSpec,
  pid: number,
  differences: readonly string[],
): void {
  if (whenDifferent === 'restart') return;
  const fields = differences.map((field) => `"${field}"`).join(', ');
  const message = `${name} runs already (PID ${pid}) with another spec: ${fields} differ; stop it first, or set whenDifferent to "restart"`;
  throw new OptionsMismatchError(message, { key: undefined, differences });
}

/** False for a file that cannot be examined, or is missing, as it is for a moment during an upgrade. */
function isReplaced(former: unknown, spec: Compared): boolean {
  try {
    const executable = executables(spec).find(isExecutableFile);
    const found = executable === undefined ? undefined : identityOf(executable);
    return former !== undefined && found !== undefined && JSON.stringify(found) !== JSON.stringify(former);
  } catch (error) {
    log('cannot look at the file of %s: %s', spec.command, errorText(error));
    return false;
  }
}

/** Numbers of 64 bits as text: JSON would round them. */
function identityOf(path: string): FileIdentity | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found && { device: `${found.dev}`, inode: `${found.ino}`, size: `${found.size}`, time: `${found.mtimeNs}` };
}

function hashesOf({ command, args, cwd = '', env }: Compared, salt: string, { isByName = false } = {}) {
  const fields = hashFields({ command, args, cwd, env: isByName ? env : {} }, salt);
  return isByName ? fields : { ...fields, env: hash(Object.entries(env).sort(), 'env', salt) };
}

/**
 * The hash of each field: the same for equal values, whatever the order of an object's fields. Functions and undefined
 * values are left out. Each variable of the environment is a field of its own, `env.NAME`.
 */
export function hashFields<Spec extends Pick<ProcessSpec, 'env'>>(spec: Spec, salt: string): Record<string, string> {
  const { env = {}, ...others } = spec;
  // A variable that is to be removed is a field, too.
  const variables = Object.entries(env).map(([name, value]) => [`env.${name}`, value ?? null] as const);
  const fields = [...Object.entries(others), ...variables];
  const isHashed = ([, value]: (typeof fields)[number]) => value !== undefined && typeof value !== 'function';
  return Object.fromEntries(fields.filter(isHashed).map(([field, value]) => [field, hash(value, field, salt)]));
}

function hash(value: unknown, field: string, salt: string): string {
  // The hashes in a journal, of texts and lists, are the same in every version of Node: inspect() would differ.
  const isObject = typeof value === 'object' && !Array.isArray(value);
  const text = isObject ? inspect(value, { depth: null, sorted: true }) : JSON.stringify(value);
  const digest = builtIn('node:crypto').createHash('sha256').update(`${salt}${field}${text}`).digest('base64url');
  return digest.slice(0, HASH_LENGTH);
}

/** Where libc searches when PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/bin:/usr/bin';

/** The files that the command can mean. As with execvp(3) the first executable one is run. */
export function executables({ command, cwd = process.cwd(), env }: Compared): string[] {
  const { PATH = DEFAULT_PATH } = { ...process.env, ...env };
  const folders = command.includes('/') ? ['.'] : PATH.split(delimiter);
  return folders.map((folder) => resolve(cwd, folder, command));
}
