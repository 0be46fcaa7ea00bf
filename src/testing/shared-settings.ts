/**
 * What the users of one shared instance have agreed on, in a file in its folder: the port, and a salted hash of each field of
 * the spec. The spec itself is not written, since its environment may hold secrets.
 */

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
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

/** In one step: a killed user leaves a whole agreement or none. */
export function writeAgreement(folder: string, port: number, spec: ProcessSpec): void {
  const salt = builtIn('node:crypto').randomUUID();
  const agreement: Agreement = { port, salt, hashes: hashFields(spec, salt) };
  const draft = `${agreementFile(folder)}.new`;
  makeFolders(folder);
  writeFileSync(draft, JSON.stringify(agreement), { mode: 0o600 });
  renameSync(draft, agreementFile(folder));
}

/** Undefined when there is none. */
export function readAgreement(folder: string): Agreement | undefined {
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

/** Fields in which the spec differs from the one that was agreed on. */
export function differingFields({ salt, hashes: agreed }: Agreement, spec: ProcessSpec): string[] {
  const own = hashFields(spec, salt);
  const fields = new Set([...Object.keys(agreed), ...Object.keys(own)]);
  return [...fields].filter((field) => agreed[field] !== own[field]);
}

/** Functions are left out, and so is what is undefined. Each variable of the environment is a field of its own. */
function hashFields({ env = {}, ...others }: ProcessSpec, salt: string): Record<string, string> {
  const variables = Object.entries(env).map(([name, value]) => [`env.${name}`, value] as const);
  const fields = [...Object.entries(others), ...variables];
  const data = fields.filter(([, value]) => value !== undefined && typeof value !== 'function');
  return Object.fromEntries(data.map(([field, value]) => [field, hash(salt, field, value)]));
}

/** The same for equal values, whatever the order in which an object has its fields. */
function hash(salt: string, field: string, value: unknown): string {
  const text = inspect(value, { depth: null, sorted: true, maxArrayLength: null, maxStringLength: null });
  return builtIn('node:crypto')
    .createHash('sha256')
    .update(salt + field + text)
    .digest('hex');
}
