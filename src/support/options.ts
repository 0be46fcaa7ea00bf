/** Checks of options: a wrong one is a TypeError that names option, expectation and value. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { inspect } from 'node:util';

type Predicate = (value: unknown) => boolean;

export function wrongOption(option: string, expectation: string, value: unknown): TypeError {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 120)) : inspect(value, { depth: 0 });
  return new TypeError(`"${option}" must be ${expectation}, not ${shown}`);
}

export function check(option: string, value: unknown, isRight: Predicate, expectation: string): void {
  if (!isRight(value)) throw wrongOption(option, expectation, value);
}

/** Checks the name of a process, which becomes a file name. */
export function checkName(option: string, value: unknown): void {
  const isName = (it: unknown) => typeof it === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(it);
  check(option, value, isName, '1 to 100 letters, digits, ".", "_" or "-", the first a letter or digit');
}

export function checkList(option: string, values: unknown, isRight: Predicate, expectation: string): void {
  if (!Array.isArray(values)) throw wrongOption(option, 'an array of strings', values);
  values.forEach((value: unknown, index) => {
    check(`${option}[${index}]`, value, isRight, expectation);
  });
}

export function checkRecord(option: string, value: unknown): void {
  check(option, value, (it) => typeof it === 'object' && it !== null && !Array.isArray(it), 'an object');
}

/** Infinity is accepted, NaN is not. */
export function checkNumber(option: string, value: unknown, { least, unit }: { least: number; unit?: string }): void {
  const isRight = (it: unknown) => typeof it === 'number' && it >= least;
  check(option, value, isRight, `a number${unit === undefined ? '' : ` of ${unit}`}, ${least} or more`);
}

export function optional(isRight: Predicate): Predicate {
  return (value) => value === undefined || isRight(value);
}

/** Can the value stand on a command line? A NUL would cut it off. */
export function isArgument(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

export function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

export function isText(value: unknown): value is string {
  return isArgument(value) && value !== '';
}

/** Checks the shape: a signal that was made in another realm, as under jsdom, is as good. */
export function isAbortSignal(value: unknown): boolean {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}

export function isPid(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0;
}

export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535;
}

/** Replaces a leading `~` by the home folder. `~user` is refused, since only a shell knows what it is. */
export function absolutePath(option: string, path: unknown): string {
  check(option, path, isText, 'a non-empty path without NUL');
  const expanded = expandHome(String(path));
  check(option, expanded, (it) => !String(it).startsWith('~'), 'a path that begins with "~/" or has no "~" in front');
  return resolve(expanded);
}

/** @throws TypeError when HOME is empty or relative: "~" would be the root folder, or lie in the working directory */
export function expandHome(path: string): string {
  if (path !== '~' && !path.startsWith('~/')) return path;
  const home = homedir();
  check('HOME', home, () => isAbsolute(home), 'an absolute path, which is what "~" stands for');
  return join(home, path.slice(1));
}
