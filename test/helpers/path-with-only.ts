import { copyFileSync, existsSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';
import { plainFixture } from './paths.js';
import { temporaryFolder } from './resources.js';

/** The path of the program on this machine. @throws when the machine does not have it */
export function whereIs(program: string): string {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`the tests need ${program} on PATH`);
  return found;
}

/** A folder for PATH that holds these programs of the machine and nothing else. */
export function pathWithOnly(test: Pick<TestContext, 'after'>, ...programs: readonly string[]): string {
  const folder = temporaryFolder(test);
  for (const program of programs) symlinkSync(whereIs(program), join(folder, program));
  return folder;
}

/** A folder for PATH whose `flock` is a fixture: a script in test/fixtures. */
export function pathWithScript(test: Pick<TestContext, 'after'>, script: string, name = 'flock'): string {
  const folder = temporaryFolder(test);
  copyFileSync(plainFixture(script), join(folder, name));
  return folder;
}
