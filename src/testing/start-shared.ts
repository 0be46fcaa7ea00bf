/**
 * One real server for a whole test run, however many worker processes. A folder per key under this user's temp folder; lock,
 * users and mark lie beside it and stay. It is removed by the last one out, under LOCK_EX on the users file: while anybody
 * uses it, it is there.
 */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isLocked } from '../lock/file-lock.js';
import { ProcessManager, shareFrom } from '../manager/process-manager.js';
import { completeSpec, type Instance, type ProcessSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { Pace } from '../support/deadline.js';
import { assertSupportedPlatform, OptionsMismatchError, SpawnError } from '../support/errors.js';
import { userFolder, userFolderPath } from '../support/files.js';
import { checkName } from '../support/options.js';
import { agree, type Place } from './shared-settings.js';
import {
  definedOptions,
  isAboutPort,
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

type Given = TestDefaults & { key: string; signal?: AbortSignal };

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
  const { key, signal, ...given }: Given = definedOptions(options);
  assertSupportedPlatform();
  const place = placeOf(key);
  const makeSpec = (agreedPort: number): ProcessSpec => {
    const chosen = { stateDir: place.folder, port: agreedPort };
    const chosenSpec = preset(overTestDefaults(preset, { ...chosen, ...given }));
    const spec: ProcessSpec = { ...chosenSpec, lockFile: place.lockFile, lifetime: 'shared', stopSignal: 'SIGKILL' };
    // Before others are asked to agree on it.
    completeSpec(spec);
    return spec;
  };
  const pace = new Pace({ firstMs: 5, maxMs: 50 });
  for (let attempt = 1; ; attempt += 1) {
    const manager = await joinInstance(place, key, makeSpec, { givenPort: given.port, signal });
    try {
      return await startJoined(manager, signal);
    } catch (error) {
      await manager.leave();
      const isFinal = given.port !== undefined || attempt === PORT_ATTEMPTS;
      if (isFinal || !(await isAboutPort(error, manager.spec.port ?? 0))) throw error;
    }
    // When all have left, the folder is gone, and the next one chooses another port.
    await pace.wait({ signal });
  }
}

/** Counted as a user, and agreed with the others. */
async function joinInstance(
  place: Place,
  key: string,
  makeSpec: (agreedPort: number) => ProcessSpec,
  options: { givenPort: number | undefined; signal: AbortSignal | undefined },
): Promise<ProcessManager> {
  const files = { name: key, lockFile: place.lockFile, stopTimeoutMs: ENDING_MS };
  const user = await joinUsers(files, options.signal);
  try {
    const { spec, differences, isOrphaned, user: agreed } = await agree(place, makeSpec, options);
    const both: User = {
      release: () => {
        agreed.release();
        user.release();
      },
    };
    const manager = new ProcessManager(spec);
    shareFrom(manager, both, () => removeFolder(place));
    if (differences.length === 0) return manager;
    await manager.leave();
    if (!isOrphaned) throw mismatchError(key, differences);
  } catch (error) {
    // Possibly as the last one out: what is left then is the folder.
    await leaveUsers(files, user, async () => {
      if (!isLocked(place.lockFile)) await removeFolder(place);
    });
    throw error;
  }
  // It was the watcher's to end, and is gone with us, who came in between.
  return await joinInstance(place, key, makeSpec, options);
}

async function startJoined(manager: ProcessManager, signal: AbortSignal | undefined): Promise<SharedInstance> {
  const { port, stateDir, name } = manager.spec;
  if (port === undefined) throw new TypeError(`"preset" must give its spec a port, as ${name} does not`);
  const instance = await manager.start(signal === undefined ? {} : { signal });
  const leave = () => manager.leave();
  const address = instance.address ?? '';
  return { ...instance, address, port, stateDir, manager, leave, [Symbol.asyncDispose]: leave };
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
  return { folder: path('.state'), lockFile: path('.lock'), setupFile: path('.setup') };
}

async function removeFolder({ folder }: Place): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}

function mismatchError(key: string, differences: readonly string[]): OptionsMismatchError {
  const fields = differences.map((field) => `"${field}"`).join(', ');
  const message = `"${key}" is shared with another spec: ${fields} differ; use another key, or the same options in every caller`;
  return new OptionsMismatchError(message, { key });
}
