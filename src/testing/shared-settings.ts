/**
 * What the users of one shared instance have agreed on, in a file in its folder: the port, and a salted hash of each field of
 * the spec. The spec itself is not written, since its environment may hold secrets.
 *
 * The file is there as long as the folder is: from the first user, who makes both, to the last one, who removes both. So a
 * server that crashed under its users finds its port again.
 */

import { linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { chooseFreePort } from '../start/port-lock.js';
import type { ProcessSpec } from '../state/process-spec.js';
import { errorCode } from '../support/errors.js';
import { makeFolders } from '../support/files.js';
import { builtIn } from '../support/load.js';

interface Agreement {
  readonly port: number;
  readonly salt: string;
  /** By the name of the field. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface Agreed {
  readonly spec: ProcessSpec;
  /** Fields in which the spec differs from the one that was agreed on. */
  readonly differences: readonly string[];
}

/**
 * Read the agreement, or make it. Only for one who is counted as a user already: then nobody removes the folder.
 * @param makeSpec the spec, given the port that was agreed on
 * @param givenPort used when there is no agreement yet; otherwise a free one is chosen
 */
export async function agree(
  folder: string,
  makeSpec: (agreedPort: number) => ProcessSpec,
  givenPort: number | undefined,
): Promise<Agreed> {
  for (;;) {
    const known = readAgreement(folder);
    const port = known?.port ?? givenPort ?? (await chooseFreePort());
    const spec = makeSpec(port);
    if (known !== undefined) return { spec, differences: differingFields(known, spec) };
    const salt = builtIn('node:crypto').randomUUID();
    if (proposeAgreement(folder, { port, salt, hashes: hashFields(spec, salt) })) return { spec, differences: [] };
  }
}

function agreementFile(folder: string): string {
  return join(folder, 'agreement.json');
}

function readAgreement(folder: string): Agreement | undefined {
  try {
    return JSON.parse(readFileSync(agreementFile(folder), 'utf8')) as Agreement;
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** In one step: a killed user leaves a whole agreement or none. @returns false when another user was quicker */
function proposeAgreement(folder: string, agreement: Agreement): boolean {
  makeFolders(folder);
  const draft = join(folder, `agreement.${builtIn('node:crypto').randomUUID()}`);
  writeFileSync(draft, JSON.stringify(agreement), { mode: 0o600 });
  try {
    linkSync(draft, agreementFile(folder));
    return true;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    return false;
  } finally {
    unlinkSync(draft);
  }
}

function differingFields({ salt, hashes: agreed }: Agreement, spec: ProcessSpec): string[] {
  const own = hashFields(spec, salt);
  const fields = new Set([...Object.keys(agreed), ...Object.keys(own)]);
  return [...fields].filter((field) => agreed[field] !== own[field]);
}

/** Functions are left out, and so is what is undefined. Each variable of the environment is a field of its own. */
function hashFields({ env = {}, ...others }: ProcessSpec, salt: string): Record<string, string> {
  const variables = Object.entries(env).map(([name, value]) => [`env.${name}`, value] as const);
  const fields = [...Object.entries(others), ...variables];
  const data = fields.filter(([, value]) => value !== undefined && typeof value !== 'function');
  return Object.fromEntries(data.map(([field, value]) => [field, hash(salt + field + textOf(value))]));
}

function hash(text: string): string {
  return builtIn('node:crypto').createHash('sha256').update(text).digest('hex');
}

/** The same for equal values, whatever the order in which an object has its fields. */
function textOf(value: unknown): string {
  return inspect(value, { depth: null, sorted: true, maxArrayLength: null, maxStringLength: null });
}
