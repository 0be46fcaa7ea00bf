import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's root, seen from the compiled tests in build/test/helpers. */
export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/** A compiled TypeScript fixture: `fixture('contender')` is test/fixtures/contender.ts. */
export function fixture(name: string): string {
  return join(projectRoot, 'build/test/fixtures', `${name}.js`);
}

/** A fixture that is run as it is: `plainFixture('server.py')` is test/fixtures/server.py. */
export function plainFixture(name: string): string {
  return join(projectRoot, 'test/fixtures', name);
}
