/**
 * One real server for a whole test run, however many worker processes. Each key has a folder under this user's temp
 * folder; lock, users and journal lie beside that folder and stay. The first user makes the folder anew, with an
 * agreement on port and spec in it, and the last one out removes it, both under LOCK_EX on the users file: it exists
 * while anybody uses it. So a server that crashed under its users finds its port again. The folder of a lingering
 * server goes with the next first user.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { identify } from '../inspect/holder.js';
import { isLocked } from '../lock/questions.js';
import { ProcessManager } from '../manager/process-manager.js';
import { hashFields } from '../state/drift.js';
import { completeSpec, type Instance, type ProcessSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers } from '../state/users.js';
import { bringDown } from '../stop/stop.js';
import { assertSupportedPlatform, errorCode, OptionsMismatchError, SpawnError } from '../support/errors.js';
import { makeFolders, replaceFile, userFolder, userFolderPath } from '../support/files.js';
import { builtIn } from '../support/load.js';
import { check } from '../support/options.js';
import { findFreePort } from '../system/ports.js';
import { removeFolder } from './temporary-state.js';
import { type Preset, specForTest, startManager, type TestDefaults, tryPorts } from './test-options.js';

/** One user's share in a server. The end of this process counts as `leave()`. */
export interface SharedInstance extends Instance {
  /** `host:port` */
  readonly address: string;
  readonly port: number;
  readonly stateDir: string;
  readonly manager: ProcessManager;
  /** Idempotent. The last one out ends the instance and removes its folder; with `lingerMs` that happens later. */
  leave(): Promise<void>;
  /** The same as `leave()`: `await using server = await startShared(…)`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * One instance for a whole test run: the first caller with this `key` starts it on a free port, the others join it, and
 * it ends (SIGKILL) when the last of them has left or died. A server that crashed is started anew, on the same port, by
 * the next call. Its log can be read until the last one leaves. `key`: 1 to 100 letters, digits, `.`, `_`, `-`.
 * `lingerMs`: how long the server is kept after the last one has left, for callers that come meanwhile; a later call
 * removes its folder.
 * @throws OptionsMismatchError when the running one was started with another spec (functions are not compared)
 * @throws what `ProcessManager.start()` throws; the signal's reason when it is aborted
 * @throws TypeError when `key` is not valid, or the preset gives neither a port nor a ready line that names one
 */
export async function startShared<O extends TestDefaults | undefined>(
  preset: Preset<O>,
  options: NonNullable<O> & { key: string; lingerMs?: number; signal?: AbortSignal },
): Promise<SharedInstance> {
  const { key, lingerMs, signal, ...given }: TestDefaults & typeof options = options;
  assertSupportedPlatform();
  const place = placeOf(key);
  const makeSpec = (port: number): ProcessSpec => {
    const { folder: stateDir, lockFile } = place;
    const spec = specForTest(preset, { stateDir, port }, given);
    return { ...spec, lingerMs: lingerMs ?? spec.lingerMs ?? 0, lockFile, lifetime: 'shared', stopSignal: 'SIGKILL' };
  };
  // If all users have left after a failure, the folder is gone, and the next attempt chooses another port.
  return await tryPorts({ given: given.port, signal }, () => joinInstance(place, makeSpec, given.port, signal));
}

/** Undefined when the agreement had no users any more, and is gone now: the caller tries again. */
async function joinInstance(
  place: Place,
  makeSpec: (port: number) => ProcessSpec,
  givenPort: number | undefined,
  signal: AbortSignal | undefined,
): Promise<SharedInstance | undefined> {
  const { folder } = place;
  let own: ProcessSpec | undefined;
  const whenUnused = async () => {
    if (isLocked(place.lockFile) && readAgreement(folder) !== undefined) return;
    await removeFolder(folder);
    const port = givenPort ?? (await findFreePort());
    own = makeSpec(port);
    // The spec is checked before others are asked to agree on it.
    completeSpec(own);
    writeAgreement(folder, port, own);
  };
  const user = await joinUsers(place, { signal, whenUnused });
  try {
    const agreement = readAgreement(folder);
    if (agreement === undefined) return undefined; // Its writer was killed.
    // A spec that this call has made is not made again: a preset may give something new each time.
    const spec = own?.port === agreement.port ? own : makeSpec(agreement.port);
    const manager = new SharedManager(spec, folder);
    try {
      checkAgreed(place.name, agreement, spec);
      const instance = await startManager(manager, signal);
      const leave = () => manager.leave();
      return { ...instance, leave, [Symbol.asyncDispose]: leave };
    } catch (error) {
      const isMismatch = error instanceof OptionsMismatchError;
      // A server that lingers is not ended because this caller was aborted, for example.
      const isLingering = own === undefined && manager.spec.lingerMs > 0 && !isMismatch;
      const wasLast = !isLingering && (await leaveUsers(place, user, () => manager.afterLastUser()));
      // Nobody uses what was agreed on: the users have left, or were killed a moment ago.
      if (wasLast && isMismatch) return undefined;
      throw error;
    }
  } finally {
    // From its start() on the manager is a user itself.
    user.release();
  }
}

class SharedManager extends ProcessManager {
  readonly #folder: string;

  constructor(spec: ProcessSpec, folder: string) {
    super(spec);
    this.#folder = folder;
  }

  /** This place is for sharing alone: a process without a watcher there would be ended by nobody else. */
  override async afterLastUser(): Promise<void> {
    if (identify(this.spec).kind !== 'strangers') await bringDown(this.spec, {});
    await removeFolder(this.#folder);
  }
}

type Place = ReturnType<typeof placeOf>;

/** Where the users of one key meet. The last user removes only the folder. */
function placeOf(key: string) {
  const isKey = (it: unknown) => typeof it === 'string' && /^[\w.-]{1,100}$/.test(it);
  check('key', key, isKey, '1 to 100 letters, digits, ".", "_" or "-"');
  const parent = userFolder();
  if (parent === undefined) {
    throw new SpawnError(
      `Cannot share "${key}": "${userFolderPath()}" cannot be made, or is not a folder to which this user alone may write; remove it, or set TMPDIR`,
    );
  }
  const path = (extension: string) => join(parent, 'shared', `${key}${extension}`);
  // The server is killed, so whoever ends it, a leaving user or the watcher, needs no longer than this. Only the
  // manager writes lines into the users file, so `lingerMs` is 0 here.
  return { name: key, folder: path('.state'), lockFile: path('.lock'), stopTimeoutMs: 10_000, lingerMs: 0 };
}

/**
 * What the users of one key have agreed on, in a file in its folder: the port, and a salted hash of each field of the spec. The
 * spec itself is not written, since its environment may hold secrets.
 */
interface Agreement {
  readonly port: number;
  readonly salt: string;
  /** By field name. */
  readonly hashes: Readonly<Record<string, string>>;
}

function writeAgreement(folder: string, port: number, spec: ProcessSpec): void {
  const salt = builtIn('node:crypto').randomUUID();
  const agreement: Agreement = { port, salt, hashes: hashFields(spec, salt) };
  makeFolders(folder);
  replaceFile(agreementFile(folder), JSON.stringify(agreement));
}

/** Undefined when there is no agreement. */
function readAgreement(folder: string): Agreement | undefined {
  try {
    return JSON.parse(readFileSync(agreementFile(folder), 'utf8')) as Agreement;
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

function agreementFile(folder: string): string {
  return join(folder, 'agreement.json');
}

/** @throws OptionsMismatchError naming the fields in which the spec differs from the one that was agreed on */
function checkAgreed(key: string, { salt, hashes: agreed }: Agreement, spec: ProcessSpec): void {
  const own = hashFields(spec, salt);
  const differences = Object.keys({ ...agreed, ...own }).filter((field) => agreed[field] !== own[field]);
  if (differences.length === 0) return;
  const fields = differences.map((field) => `"${field}"`).join(', ');
  const message = `"${key}" is shared with another spec: ${fields} differ; use another key, or the same options in every caller`;
  throw new OptionsMismatchError(message, { key, differences });
}
