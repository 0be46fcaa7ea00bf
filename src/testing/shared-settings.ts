/**
 * What the users of one shared instance have agreed on, its port and its spec, in a file in its folder.
 *
 * Users hold LOCK_SH on the file as long as they are users, and newcomers look at it one at a time. So a file on which nobody
 * has a lock while nothing runs was left by a killed run: the folder is made anew. A server that crashed under its users finds
 * its port again.
 */

import { closeSync, constants, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isLocked, waitForLock } from '../lock/file-lock.js';
import { tryFlock } from '../lock/flock.js';
import { reservePort } from '../start/port-lock.js';
import type { ProcessSpec } from '../state/process-spec.js';
import type { User } from '../state/users.js';
import { errorCode } from '../support/errors.js';
import { closeOnce, makeFolders } from '../support/files.js';
import { builtIn } from '../support/load.js';

export interface Place {
  /** Removed with the last user. */
  readonly folder: string;
  /** These lie beside the folder and stay. */
  readonly lockFile: string;
  readonly setupFile: string;
}

export interface Agreed {
  readonly spec: ProcessSpec;
  /** Fields in which the spec differs from the one that was agreed on. */
  readonly differences: readonly string[];
  /** Whoever agreed on it was killed a moment ago: its server is up, and nobody keeps to it but us. */
  readonly isOrphaned: boolean;
  /** Holds the agreement; to be released with the user. */
  readonly user: User;
}

interface Agreement {
  port: number;
  spec: Record<string, unknown>;
}

interface KnownAgreement extends Agreement {
  isOrphaned: boolean;
}

/** A newcomer has the agreement to itself for a few milliseconds. */
const SETUP_WAIT_MS = 30_000;

/**
 * Read the agreement, or make it. Only for one who is counted as a user already.
 * @param makeSpec the spec, given the port that was agreed on
 * @param givenPort used when there is no agreement yet; otherwise a free one is chosen
 * @throws the signal's reason when it is aborted
 */
export async function agree(
  place: Place,
  makeSpec: (agreedPort: number) => ProcessSpec,
  { givenPort, signal }: { givenPort: number | undefined; signal: AbortSignal | undefined },
): Promise<Agreed> {
  const setup = await waitForLock(place.setupFile, { timeoutMs: SETUP_WAIT_MS, ...(signal && { signal }) });
  try {
    const known = readAgreement(place);
    if (known !== undefined) {
      return { ...compare(known, makeSpec(known.port)), isOrphaned: known.isOrphaned, user: holdAgreement(place) };
    }
    await builtIn('node:fs/promises').rm(place.folder, { recursive: true, force: true, maxRetries: 3 });
    const port = givenPort ?? (await chooseFreePort());
    const spec = makeSpec(port);
    writeAgreement(place, { port, spec: withoutFunctions(spec) });
    return { spec, differences: [], isOrphaned: false, user: holdAgreement(place) };
  } finally {
    setup.release();
  }
}

/** Its lock is given back at once: whoever wins the process's lock takes it again. */
async function chooseFreePort(): Promise<number> {
  const { port, lock } = await reservePort();
  lock?.release();
  return port;
}

function compare({ spec: agreed }: Agreement, spec: ProcessSpec): Pick<Agreed, 'spec' | 'differences'> {
  const own = withoutFunctions(spec);
  const fields = new Set([...Object.keys(agreed), ...Object.keys(own)]);
  return { spec, differences: [...fields].filter((field) => !isDeepStrictEqual(agreed[field], own[field])) };
}

/** As it is after a way through JSON, so that it compares with one that was read. */
function withoutFunctions(spec: ProcessSpec): Record<string, unknown> {
  return JSON.parse(JSON.stringify(spec)) as Record<string, unknown>;
}

function agreementFile({ folder }: Place): string {
  return join(folder, 'agreement.json');
}

/** Undefined when there is none that anybody has to keep to. */
function readAgreement(place: Place): KnownAgreement | undefined {
  let fd: number;
  try {
    fd = openSync(agreementFile(place), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
  try {
    const isOrphaned = tryFlock(fd, 'ex');
    if (isOrphaned && !isLocked(place.lockFile)) return undefined;
    return { ...(JSON.parse(readFileSync(fd, 'utf8')) as Agreement), isOrphaned };
  } finally {
    closeSync(fd);
  }
}

/** In one step: a killed newcomer leaves a whole agreement or none. */
function writeAgreement(place: Place, agreement: Agreement): void {
  makeFolders(place.folder);
  const draft = `${agreementFile(place)}.new`;
  writeFileSync(draft, JSON.stringify(agreement), { mode: 0o600 });
  renameSync(draft, agreementFile(place));
}

function holdAgreement(place: Place): User {
  const fd = openSync(agreementFile(place), constants.O_RDONLY | constants.O_NOFOLLOW);
  // Under the setup lock nobody else has more than LOCK_SH.
  tryFlock(fd, 'sh');
  return { release: closeOnce(fd) };
}
