/** The builds with one broken line: that the campaign notices each of them is shown by scripts/broken-builds.mjs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../helpers/paths.js';
import { groups } from './rows.js';

export interface BrokenBuild {
  readonly laws: readonly number[];
  /** The row that notices it: its name, or a part that no other row's name has. */
  readonly row: string;
  readonly breaks: string;
  readonly file: string;
  /** A whole line of the file, without its indentation. */
  readonly line: string;
  /** What stands there instead. */
  readonly broken: string;
  /** How much of the campaign it takes at most to notice. */
  readonly share?: number;
}

/** In the order of the rows, and with their whole names: for scripts/broken-builds.mjs. @public @throws Error for a row or a line that is not there, or there twice, and a row without any */
export function readBrokenBuilds(): BrokenBuild[] {
  const list = JSON.parse(readFileSync(join(projectRoot, 'test/campaign/broken-builds.json'), 'utf8')) as BrokenBuild[];
  const names = Object.values(groups).flatMap((rows) => rows.map(({ name }) => name));
  const builds = list.map((build) => ({ ...build, row: wholeName(build.row, names) }));
  for (const build of builds) breakLine(readFileSync(join(projectRoot, build.file), 'utf8'), build);
  const missing = names.filter((name) => !builds.some(({ row }) => row === name));
  if (missing.length > 0)
    throw new Error(`no broken build for the rows ${missing.map((name) => `"${name}"`).join(', ')}`);
  return builds.sort((one, other) => names.indexOf(one.row) - names.indexOf(other.row));
}

/** The text of the file with that one line broken. */
export function breakLine(text: string, { file, line, broken }: BrokenBuild): string {
  const lines = text.split('\n');
  const found = lines.filter((each) => each.trim() === line).length;
  if (found !== 1) throw new Error(`${file} has ${found} lines "${line}"`);
  return lines.map((each) => (each.trim() === line ? broken : each)).join('\n');
}

function wholeName(part: string, names: readonly string[]): string {
  if (names.includes(part)) return part;
  const found = names.filter((name) => name.includes(part));
  if (found.length !== 1) throw new Error(`${found.length} rows with "${part}"`);
  return found[0] as string;
}
