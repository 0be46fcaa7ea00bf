/**
 * One real server for a whole test run, however many worker processes. A folder per key under this user's temp folder; lock,
 * users and journal lie beside it and stay. The first user makes the folder anew, with what all have to agree on in it, and the
 * last one out removes it, both under LOCK_EX on the users file: while anybody uses it, it is there. So a server that
 * crashed under its users finds its port again.
 */

import { join } from 'node:path';
import { identify } from '../inspect/holder.js';
import { isLocked } from '../lock/file-lock.js';
import { ProcessManager } from '../manager/process-manager.js';
import { completeSpec, type Instance, type ProcessSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers } from '../state/users.js';
import { bringDown } from '../stop/stop.js';
import { assertSupportedPlatform, OptionsMismatchError, SpawnError } from '../support/errors.js';
import { userFolder, userFolderPath } from '../support/files.js';
import { checkName } from '../support/options.js';
import { findFreePort } from '../system/ports.js';
import { differingFields, readAgreement, writeAgreement } from './shared-settings.js';
import { removeFolder } from './temporary-state.js';
import {
  definedOptions,
  overTestDefaults,
  type Preset,
  startManager,
  type TestDefaults,
  tryPorts,
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

/** How long a user that leaves, or the watcher, may take to end the instance: it is killed. */
const ENDING_MS = 10_000;

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
  const { key, signal, ...given }: TestDefaults & typeof options = definedOptions(options);
  assertSupportedPlatform();
  const place = placeOf(key);
  const specs = new Map<number, ProcessSpec>();
  const makeSpec: MakeSpec = (agreedPort) => {
    const known = specs.get(agreedPort);
    if (known !== undefined) return known;
    const chosen = { stateDir: place.folder, port: agreedPort };
    const chosenSpec = preset(overTestDefaults(preset, { ...chosen, ...given }));
    const spec: ProcessSpec = { ...chosenSpec, lockFile: place.lockFile, lifetime: 'shared', stopSignal: 'SIGKILL' };
    // Before others are asked to agree on it.
    completeSpec(spec);
    specs.set(agreedPort, spec);
    return spec;
  };
  // When all have left after a failure, the folder is gone, and the next one chooses another port.
  return await tryPorts({ given: given.port, signal }, () =>
    joinInstance(place, makeSpec, { givenPort: given.port, signal }),
  );
}

/** The same one for the same port: a preset may give something new each time. */
type MakeSpec = (agreedPort: number) => ProcessSpec;

/** Undefined when what was agreed on was nobody's any more, and is gone now: to be tried again. */
async function joinInstance(
  place: Place,
  makeSpec: MakeSpec,
  { givenPort, signal }: { givenPort: number | undefined; signal: AbortSignal | undefined },
): Promise<SharedInstance | undefined> {
  const { folder } = place;
  const whenUnused = async () => {
    if (isLocked(place.lockFile) && readAgreement(folder) !== undefined) return;
    await removeFolder(folder);
    const port = givenPort ?? (await findFreePort());
    writeAgreement(folder, port, makeSpec(port));
  };
  const user = await joinUsers(place, { signal, whenUnused });
  try {
    const agreement = readAgreement(folder);
    if (agreement === undefined) return undefined; // Whoever was about to write it was killed.
    const spec = makeSpec(agreement.port);
    const manager = new SharedManager(spec, folder);
    const giveUp = () => leaveUsers(place, user, () => manager.afterLastUser());
    const differences = differingFields(agreement, spec);
    if (differences.length > 0) {
      // As the last one out: whoever agreed on it was killed a moment ago.
      if (await giveUp()) return undefined;
      throw mismatchError(place.name, differences);
    }
    try {
      const instance = await startManager(manager, signal);
      const leave = () => manager.leave();
      return { ...instance, leave, [Symbol.asyncDispose]: leave };
    } catch (error) {
      await giveUp();
      throw error;
    }
  } finally {
    // The manager that has started it is counted itself.
    user.release();
  }
}

class SharedManager extends ProcessManager {
  readonly #folder: string;

  constructor(spec: ProcessSpec, folder: string) {
    super(spec);
    this.#folder = folder;
  }

  /** In a place for sharing alone a process without a watcher has lost it, and nobody else would end it. */
  override async afterLastUser(): Promise<void> {
    if (identify(this.spec).kind !== 'strangers') await bringDown(this.spec, {});
    await removeFolder(this.#folder);
  }
}

type Place = ReturnType<typeof placeOf>;

/** Where the users of one key meet. Only the folder is removed with the last user. */
function placeOf(key: string) {
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

function mismatchError(key: string, differences: readonly string[]): OptionsMismatchError {
  const fields = differences.map((field) => `"${field}"`).join(', ');
  const message = `"${key}" is shared with another spec: ${fields} differ; use another key, or the same options in every caller`;
  return new OptionsMismatchError(message, { key, differences });
}
