/**
 * Checks that raw-lock.mjs still makes the same calls as the library. `lock-calls.mjs FOLDER` prints the differences, and nothing if
 * there are none. It replaces the functions of `node:fs` and fs-ext before either is loaded.
 */
// @ts-check
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/** @type {string[]} */
let calls = [];

record(
  fs,
  Object.keys(fs).filter((name) => name.endsWith('Sync')),
);
syncBuiltinESMExports();
record(createRequire(import.meta.url)('fs-ext'), ['flockSync']);

const { acquireLock, isLocked, releaseLock } = await import('flock-process');
const raw = await import('./raw-lock.mjs');
const path = join(process.argv[2] ?? '', 'compared');

releaseLock(acquireLock(path)); // Creates the file, and makes the library check its file system, which it does once.
compare(
  'acquireLock + releaseLock',
  () => releaseLock(acquireLock(path)),
  () => raw.acquireAndRelease(path),
);
compare(
  'isLocked, free',
  () => isLocked(path),
  () => raw.ask(path),
);
const held = acquireLock(path);
compare(
  'isLocked, held',
  () => isLocked(path),
  () => raw.ask(path),
);
held.release();

/** @param {any} target @param {string[]} names */
function record(target, names) {
  for (const name of names) {
    const original = target[name];
    if (typeof original !== 'function') continue;
    target[name] = (/** @type {unknown[]} */ ...args) => {
      calls.push(`${name}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`);
      return original.apply(target, args);
    };
  }
}

/** @param {string} what @param {() => unknown} ours @param {() => unknown} theirs */
function compare(what, ours, theirs) {
  const [made, expected] = [ours, theirs].map((act) => {
    calls = [];
    act();
    return calls.join(' ');
  });
  if (made !== expected) console.log(`${what}: the library makes ${made}, the raw loop ${expected}`);
}
