/**
 * One real server for a whole test run, however many worker processes. A folder per key under this user's temp folder; lock,
 * users and mark lie beside it and stay. It is removed by the last one out, or by the first one who comes after a killed run,
 * under LOCK_EX on the users file: while anybody uses it, it is there.
 */

import { join } from 'node:path';
import { identify } from '../inspect/holder.js';
import { isLocked } from '../lock/file-lock.js';
import { ProcessManager } from '../manager/process-manager.js';
import { type CompleteSpec, completeSpec, type Instance, type ProcessSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { bringDown } from '../stop/stop.js';
import { Pace } from '../support/deadline.js';
import { assertSupportedPlatform, OptionsMismatchError, SpawnError } from '../support/errors.js';
import { userFolder, userFolderPath } from '../support/files.js';
import { builtIn } from '../support/load.js';
import { checkName } from '../support/options.js';
import { type Agreed, agree } from './shared-settings.js';
import {
  definedOptions,
  mayBeAboutPort,
  overTestDefaults,
  PORT_ATTEMPTS,
  type Preset,
  type TestDefaults,
} from './test-options.js';

/** One user's share in a server. The end of this process counts as `leave()`. */
export interface SharedInstance extends Instance {
  /** `host:port` */
  readonly address: string;
  readonly port: number;
  readonly stateDir: string;
  readonly manager: ProcessManager;
  /** Idempotent. The last one out ends the instance and removes its folder. */
  leave(): Promise<void>;
  /** The same as `leave()`: `await using server = await startShared(…)`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Where the users of one key meet. */
interface Place {
  /** The key. */
  readonly name: string;
  /** Removed with the last user. */
  readonly folder: string;
  /** Lies beside the folder and stays. */
  readonly lockFile: string;
  readonly stopTimeoutMs: number;
}

/** How long a user that leaves, or the watcher, may take to end the instance: it is killed. */
const ENDING_MS = 10_000;

type Given = TestDefaults & { key: string; signal?: AbortSignal };

/**
 * One instance for a whole test run: the first caller with this `key` starts it on a free port, the others join it, and it
 * ends (SIGKILL) when the last of them has left or died. A server that crashed is started anew, on the same port, by the
 * next call. Its log can be read until the last one leaves. `key`: 1 to 100 letters, digits, `.`, `_`, `-`, the first a
 * letter or digit.
 * @throws OptionsMismatchError when the running one was started with another spec (functions left out)
 * @throws what `ProcessManager.start()` throws; the signal's reason when it is aborted
 * @throws TypeError when `key` is not one, or the preset gives no port
 */
export async function startShared<O extends TestDefaults | undefined>(
  preset: Preset<O>,
  options: NonNullable<O> & { key: string; signal?: AbortSignal },
): Promise<SharedInstance> {
  const { key, signal, ...given }: Given = definedOptions(options);
  assertSupportedPlatform();
  const place = placeOf(key);
  const makeSpec: MakeSpec = (agreedPort) => {
    const chosen = { stateDir: place.folder, port: agreedPort };
    const chosenSpec = preset(overTestDefaults(preset, { ...chosen, ...given }));
    const spec: ProcessSpec = { ...chosenSpec, lockFile: place.lockFile, lifetime: 'shared', stopSignal: 'SIGKILL' };
    // Before others are asked to agree on it.
    completeSpec(spec);
    return spec;
  };
  const pace = new Pace({ firstMs: 5, maxMs: 50 });
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await joinInstance(place, makeSpec, { givenPort: given.port, signal });
    } catch (error) {
      const isFinal = given.port !== undefined || attempt === PORT_ATTEMPTS;
      if (isFinal || !mayBeAboutPort(error)) throw error;
    }
    // When all have left, the folder is gone, and the next one chooses another port.
    await pace.wait({ signal });
  }
}

interface JoinOptions {
  readonly givenPort: number | undefined;
  readonly signal: AbortSignal | undefined;
}

type MakeSpec = (agreedPort: number) => ProcessSpec;

async function joinInstance(place: Place, makeSpec: MakeSpec, options: JoinOptions): Promise<SharedInstance> {
  const { spec, user } = await joinAgreed(place, makeSpec, options);
  const manager = new SharedManager(spec, place.folder);
  const { name, port, stateDir } = manager.spec;
  try {
    if (port === undefined) throw new TypeError(`"preset" must give its spec a port, as ${name} does not`);
    const instance = await manager.start({ ...(options.signal && { signal: options.signal }) });
    const leave = () => manager.leave();
    const address = instance.address ?? '';
    return { ...instance, address, port, stateDir, manager, leave, [Symbol.asyncDispose]: leave };
  } catch (error) {
    await leaveUsers(place, user, () => endInstance(manager.spec, place.folder));
    throw error;
  } finally {
    // The manager is counted itself.
    user.release();
  }
}

/** Counted as a user, and agreed with the others. */
async function joinAgreed(
  place: Place,
  makeSpec: MakeSpec,
  { givenPort, signal }: JoinOptions,
): Promise<{ spec: ProcessSpec; user: User }> {
  const clear = async () => {
    if (!isLocked(place.lockFile)) await removeFolder(place.folder);
  };
  for (;;) {
    const user = await joinUsers(place, { signal, whenUnused: clear });
    let agreed: Agreed;
    try {
      agreed = await agree(place.folder, makeSpec, givenPort);
    } catch (error) {
      await leaveUsers(place, user, clear);
      throw error;
    }
    const { spec, differences } = agreed;
    if (differences.length === 0) return { spec, user };
    const wasLast = await leaveUsers(place, user, () => endInstance(completeSpec(spec), place.folder));
    if (!wasLast) throw mismatchError(place.name, differences);
    // Whoever agreed on it was killed a moment ago: its server was the watcher's to end, and is gone with us.
  }
}

class SharedManager extends ProcessManager {
  readonly #folder: string;

  constructor(spec: ProcessSpec, folder: string) {
    super(spec);
    this.#folder = folder;
  }

  protected override async afterLastUser(): Promise<void> {
    await endInstance(this.spec, this.#folder);
  }
}

/** For the last one out. In a place for sharing alone a process without a watcher has lost it, and nobody else would end it. */
async function endInstance(spec: CompleteSpec, folder: string): Promise<void> {
  if (identify(spec).kind !== 'strangers') await bringDown(spec, {});
  await removeFolder(folder);
}

function placeOf(key: string): Place {
  checkName('key', key);
  const parent = userFolder();
  if (parent === undefined) {
    throw new SpawnError(
      `Cannot share "${key}": "${userFolderPath()}" cannot be made, or is not a folder to which this user alone may write; remove it, or set TMPDIR`,
    );
  }
  const path = (extension: string) => join(parent, 'shared', `${key}${extension}`);
  return { name: key, folder: path('.state'), lockFile: path('.lock'), stopTimeoutMs: ENDING_MS };
}

async function removeFolder(folder: string): Promise<void> {
  await builtIn('node:fs/promises').rm(folder, { recursive: true, force: true, maxRetries: 3 });
}

function mismatchError(key: string, differences: readonly string[]): OptionsMismatchError {
  const fields = differences.map((field) => `"${field}"`).join(', ');
  const message = `"${key}" is shared with another spec: ${fields} differ; use another key, or the same options in every caller`;
  return new OptionsMismatchError(message, { key, differences });
}
