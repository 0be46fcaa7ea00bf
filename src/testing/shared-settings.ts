/**
 * What the users of one shared instance have agreed on, in a file in its folder: the port, and a salted hash of each field of
 * the spec. The spec itself is not written, since its environment may hold secrets.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { ProcessSpec } from '../state/process-spec.js';
import { errorCode } from '../support/errors.js';
import { makeFolders, replaceFile } from '../support/files.js';
import { builtIn } from '../support/load.js';

interface Agreement {
  readonly port: number;
  readonly salt: string;
  /** By the name of the field. */
  readonly hashes: Readonly<Record<string, string>>;
}

export function writeAgreement(folder: string, port: number, spec: ProcessSpec): void {
  const salt = builtIn('node:crypto').randomUUID();
  const agreement: Agreement = { port, salt, hashes: hashFields(spec, salt) };
  makeFolders(folder);
  replaceFile(agreementFile(folder), JSON.stringify(agreement));
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
  return Object.keys({ ...agreed, ...own }).filter((field) => agreed[field] !== own[field]);
}

/**
 * The same for equal values, whatever the order in which an object has its fields. Functions are left out, and so is what is
 * undefined. Each variable of the environment is a field of its own.
 */
function hashFields({ env = {}, ...others }: ProcessSpec, salt: string): Record<string, string> {
  const { createHash } = builtIn('node:crypto');
  const variables = Object.entries(env).map(([name, value]) => [`env.${name}`, value] as const);
  const hashes: Record<string, string> = {};
  for (const [field, value] of [...Object.entries(others), ...variables]) {
    if (value === undefined || typeof value === 'function') continue;
    const text = inspect(value, { depth: null, sorted: true, maxArrayLength: null, maxStringLength: null });
    hashes[field] = createHash('sha256')
      .update(salt + field + text)
      .digest('hex');
  }
  return hashes;
}
