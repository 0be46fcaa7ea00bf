/** Node's permission model, by its name in the Node that runs this, with what docs/limits.md asks for, less what a test takes away. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const major = Number(process.versions.node.split('.')[0]);

export type Permission = 'read' | 'write' | 'child' | 'addons' | 'net';

/** Which of them this Node knows: before Node 25 the network is open to everybody. */
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

/** TMP/flock-process-UID: the locks of ports, and throw-away folders. */
export const userFolder = join(tmpdir(), `flock-process-${process.getuid?.()}`);

/** Words for Node's command line. @param places where `read` and `write` are allowed: everywhere, unless it is said */
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
