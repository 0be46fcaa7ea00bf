/**
 * Node's permission model under its name in this Node version, with the permissions that docs/limits.md asks for,
 * except those that a test withholds.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const major = Number(process.versions.node.split('.')[0]);

export type Permission = 'read' | 'write' | 'child' | 'addons' | 'net';

/** The permissions that this Node version knows: before Node 25 the network is not restricted. */
export const KNOWN: readonly Permission[] = [
  'read',
  'write',
  'child',
  'addons',
  ...(major >= 25 ? ['net' as const] : []),
];

export const FLAGS: Record<Permission, string> = {
  read: '--allow-fs-read',
  write: '--allow-fs-write',
  child: '--allow-child-process',
  addons: '--allow-addons',
  net: '--allow-net',
};

/** TMP/flock-process-UID: the folder of port locks and of the folders of ephemeral instances. */
export const userFolder = join(tmpdir(), `flock-process-${process.getuid?.()}`);

/** Arguments for Node's command line. @param places where `read` and `write` are allowed; everywhere by default */
export function permissions(
  granted: readonly Permission[],
  { read = ['*'], write = ['*'] }: { read?: readonly string[]; write?: readonly string[] } = {},
): string[] {
  const places: Partial<Record<Permission, readonly string[]>> = { read, write };
  const words = granted
    .filter((permission) => KNOWN.includes(permission))
    .flatMap((name) => places[name]?.map((place) => `${FLAGS[name]}=${place}`) ?? [FLAGS[name]]);
  return [major >= 24 ? '--permission' : '--experimental-permission', '--no-warnings', ...words];
}
