/**
 * State folders that are thrown away: made under this user's temp folder, removed after use, or by a later call when
 * their maker was killed. A lock in the folder says that its maker is alive.
 */

import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { tryAcquireLock } from '../lock/file-lock.js';
import { isLocked } from '../lock/questions.js';
import { debugLog } from '../support/debug.js';
import { errorText, SpawnError } from '../support/errors.js';
import { userFolder } from '../support/files.js';
import { systemTimeMs } from '../support/globals.js';
import { builtIn } from '../support/load.js';

const log = debugLog('testing');

const PREFIX = 'ephemeral-';

const IN_USE = 'in-use.lock';

/** A folder without its lock was made a moment ago, or its maker was killed right then. */
const UNLOCKED_AGE_MS = 60_000;

export function makeTemporaryState() {
  const parent = userFolder() ?? resolve(tmpdir());
  for (;;) {
    const folder = makeFolderIn(parent);
    const lock = tryAcquireLock(join(folder, IN_USE));
    // A sweeping process was quicker: it removes the folder.
    if (lock === undefined) continue;
    return { folder, remove: () => removeFolder(folder).finally(() => lock.release()) };
  }
}

function makeFolderIn(parent: string): string {
  try {
    return mkdtempSync(join(parent, PREFIX));
  } catch (error) {
    const message = `Cannot start a throw-away server: no folder can be made in "${parent}": ${errorText(error)}; set TMPDIR`;
    throw new SpawnError(message, { cause: error });
  }
}

/** Removes what killed runs of this user left: folders whose maker is dead and in which nothing runs. Never throws. */
export async function sweepTemporaryStates(): Promise<void> {
  const parent = userFolder();
  if (parent === undefined) return;
  // EMFILE, ENOENT: a later call sweeps.
  const names = await builtIn('node:fs/promises')
    .readdir(parent)
    .catch(() => []);
  for (const name of names.filter((it) => it.startsWith(PREFIX))) {
    const failed = (error: unknown) => log('cannot sweep %s: %s', name, errorText(error));
    await sweep(join(parent, name)).catch(failed);
  }
}

async function sweep(folder: string): Promise<void> {
  const isNew = systemTimeMs() - statSync(folder).mtimeMs < UNLOCKED_AGE_MS;
  if (isNew && !readdirSync(folder).includes(IN_USE)) return;
  const lock = tryAcquireLock(join(folder, IN_USE));
  if (lock === undefined) return;
  try {
    const locks = readdirSync(folder).filter((file) => file.endsWith('.lock') && file !== IN_USE);
    if (locks.some((file) => isLocked(join(folder, file)))) return;
    log('removing %s, which a killed run left', folder);
    await removeAside(folder);
  } finally {
    lock.release();
  }
}

/** Removes a handful of files in half the time of removeAside(). */
export async function removeFolder(folder: string): Promise<void> {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    await removeAside(folder); // A process that is still there writes into it.
  }
}

/** Does not block the event loop. */
async function removeAside(folder: string): Promise<void> {
  await builtIn('node:fs/promises').rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
