/** What presets ask of their options: wrong ones are a TypeError that names option, expectation and value. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export function wrong(option: string, expectation: string, value: unknown): TypeError {
  return new TypeError(`"${option}" must be ${expectation}, not ${shown(value)}`);
}

export function check(option: string, value: unknown, isRight: (value: unknown) => boolean, expectation: string): void {
  if (!isRight(value)) throw wrong(option, expectation, value);
}

/** Fit for a command line: a NUL would cut it off. */
export function isArgument(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

export function isText(value: unknown): value is string {
  return isArgument(value) && value !== '';
}

export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535;
}

/** @throws TypeError when it is no list, or when an element is not right */
export function checkList(
  option: string,
  values: unknown,
  isRight: (value: unknown) => boolean,
  expectation: string,
): void {
  if (!Array.isArray(values)) throw wrong(option, 'an array', values);
  values.forEach((value: unknown, index) => {
    check(`${option}[${index}]`, value, isRight, expectation);
  });
}

/** @throws TypeError when it is not an object with names and values */
export function checkRecord(option: string, value: unknown): void {
  check(option, value, (it) => typeof it === 'object' && it !== null && !Array.isArray(it), 'an object');
}

/** Absolute; a leading `~` is the home folder. */
export function absolutePath(option: string, path: unknown): string {
  if (!isText(path)) throw wrong(option, 'a non-empty path without NUL', path);
  return resolve(expandHome(path));
}

/** A leading `~` becomes the home folder; everything else stays as it is. */
export function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 120));
  return Array.isArray(value) ? `the array [${String(value).slice(0, 120)}]` : String(value);
}
