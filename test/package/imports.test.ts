/** The layout in docs/ARCHITECTURE.md: the rooms, the direction of imports, and how large a room and a file may become. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';

/** The rooms from top to bottom: a room imports from itself and from the rooms after it. */
const ROOMS = [
  'index.ts',
  'testing',
  'manager',
  'supervise',
  'start',
  'stop',
  'inspect',
  'presets',
  'state',
  'lock',
  'system',
  'support',
];

const MAX_FILES = 55;
const MAX_FILES_IN_A_ROOM = 9;
const MAX_LINES = 250;

/** Made by the build from watcher.sh. */
const GENERATED = 'start/watcher-text.ts';

const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(ts|sh)$/.test(name) && name !== GENERATED)
  .toSorted();

const imports = new Map(sources.map((name) => [name, importsOf(name)]));

describe('the house', () => {
  test('every file is in a room', () => {
    assert.deepEqual(
      sources.filter((name) => !ROOMS.includes(roomOf(name))),
      [],
    );
  });

  test('no room imports from a room above it', () => {
    const isUpwards = (from: string, to: string) => ROOMS.indexOf(roomOf(to)) < ROOMS.indexOf(roomOf(from));
    const upwards = [...imports].flatMap(([from, targets]) =>
      targets.filter((to) => isUpwards(from, to)).map((to) => `${from} → ${to}`),
    );
    assert.deepEqual(upwards, []);
  });

  test('no file imports itself through others', () => {
    const cycles = sources.filter((name) => reachableFrom(name).has(name));
    assert.deepEqual(cycles, []);
  });

  test(`there are at most ${MAX_FILES} files, ${MAX_FILES_IN_A_ROOM} in a room, and ${MAX_LINES} lines in a file`, () => {
    const filesIn = (room: string) => sources.filter((name) => roomOf(name) === room).length;
    const large = ROOMS.filter((room) => filesIn(room) > MAX_FILES_IN_A_ROOM);
    const long = sources.filter((name) => linesOf(name).length > MAX_LINES);
    assert.deepEqual({ large, long }, { large: [], long: [] });
    assert.ok(sources.length <= MAX_FILES, `${sources.length} files`);
  });
});

function roomOf(name: string): string {
  return name.split('/')[0] ?? name;
}

function linesOf(name: string): string[] {
  return readFileSync(join(projectRoot, 'src', name), 'utf8')
    .trimEnd()
    .split('\n');
}

function importsOf(name: string): string[] {
  const text = readFileSync(join(projectRoot, 'src', name), 'utf8');
  const specifiers = Array.from(text.matchAll(/(?:from|import\()\s*'(\.[^']*)'/g), ([, specifier = '']) => specifier);
  const paths = specifiers.map((specifier) => posix.join(posix.dirname(name), specifier).replace(/\.js$/, '.ts'));
  return paths.filter((path) => path !== GENERATED);
}

function reachableFrom(name: string): Set<string> {
  const seen = new Set<string>();
  const waiting = [...(imports.get(name) ?? [])];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    waiting.push(...(imports.get(next) ?? []));
  }
  return seen;
}
