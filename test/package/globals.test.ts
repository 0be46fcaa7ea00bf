/** A global that a test runner may replace, or that differs in its realm, is used only in one file of the sources. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';

const OWNER = 'support/globals.ts';

/** Made by the build from watcher.sh. */
const GENERATED = 'start/watcher-text.ts';

const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && name !== GENERATED && name !== OWNER)
  .map((name) => ({ name, code: codeOf(readFileSync(join(projectRoot, 'src', name), 'utf8')) }));

const ownClasses = new Set(
  sources.flatMap(({ code }) => Array.from(code.matchAll(/\bclass (\w+)/g), ([, name]) => name)),
);

/** Code in which each rule must find what it forbids. */
const RULES: Record<string, (code: string) => string[]> = {
  'the clock, chance and the next tick': (code) =>
    withoutTexts(code).match(/\b(?:Date\.now|Math\.random|process\.(?:nextTick|hrtime)|queueMicrotask)\b/g) ?? [],
  'a date that is now': (code) => code.match(/\bnew Date(?:\(\s*\)|(?!\())|(?<!\bnew )\bDate\(/g) ?? [],
  'modules of clocks and timers': (code) => code.match(/'(?:node:)?(?:timers|timers\/promises|perf_hooks)'/g) ?? [],
  'a listener of its own on a signal, beside the one of onAbort()': (code) =>
    code.match(/\baddEventListener\((?!'abort', tell\))/g) ?? [],
  'what the signal of a polyfill does not have': (code) =>
    code.match(/\bnew AbortController\b|\bAbortSignal\.\w+\(|\.throwIfAborted\(/g) ?? [],
  'instanceof of a class that is not of this library': (code) =>
    Array.from(code.matchAll(/\binstanceof\s+([\w.]+)/g), ([found, name = '']) =>
      ownClasses.has(name) ? '' : found,
    ).filter((found) => found !== ''),
  'a synchronous loop that looks at the time': (code) =>
    loopsIn(code).filter(
      (loop) =>
        /\bnow\(|\bisOver\b|\bremainingMs\b|\bsystemTime\w+\(|\bDate\b/.test(loop) && !/\b(?:await|yield)\b/.test(loop),
    ),
};

/** The rule must find each of these, otherwise it would allow everything. */
const VIOLATIONS: Record<keyof typeof RULES, readonly string[]> = {
  'the clock, chance and the next tick': [
    'Date.now()',
    'Math.random() / 2',
    'process.nextTick(() => {})',
    'process.hrtime()',
    'queueMicrotask(work)',
  ],
  'a date that is now': ['new Date()', 'new Date', 'Date()'],
  'modules of clocks and timers': [`import { setTimeout } from 'node:timers/promises';`, `builtIn('timers')`],
  'a listener of its own on a signal, beside the one of onAbort()': [
    `signal.addEventListener('abort', end, { once: true })`,
    `signal?.addEventListener('abort', () => end())`,
  ],
  'what the signal of a polyfill does not have': [
    'signal?.throwIfAborted()',
    'const over = new AbortController();',
    'AbortSignal.timeout(100)',
  ],
  'instanceof of a class that is not of this library': [
    'error instanceof Error',
    'value instanceof URL ? 1 : 2',
    'x instanceof global.RegExp',
  ],
  'a synchronous loop that looks at the time': [
    'while (now() < end) {\n  if (attempt()) break;\n}',
    'for (;;) {\n  if (deadline.isOver) throw error;\n}',
    'do attempt(); while (deadline.remainingMs > 0);',
    'async () => { await first(); while (!deadline.isOver) attempt(); }',
  ],
};

const ALLOWED = [
  'new Date(startTime * 1000)',
  `signal.addEventListener('abort', tell);`,
  'const forget = onAbort(signal, end);',
  `error instanceof LockHeldError`,
  'for (;;) {\n  await pace.wait({ deadline });\n  if (deadline.isOver) return;\n}',
  'for (let attempts = 1; attempts < 250; attempts += 1) pauseThread(random());',
  'for (const look of looks) {\n  limit = Math.min(limit, deadline.remainingMs);\n}',
];

for (const [rule, find] of Object.entries(RULES)) {
  describe(rule, () => {
    test(`not in the sources, but in ${OWNER}`, () => {
      const found = sources.flatMap(({ name, code }) => find(code).map((what) => `${name}: ${what}`));
      assert.deepEqual(found, []);
    });

    test('would be found', () => {
      for (const violation of VIOLATIONS[rule] ?? []) assert.notEqual(find(violation).length, 0, violation);
      for (const allowed of ALLOWED) assert.deepEqual(find(allowed), []);
    });
  });
}

/** The code without comments. */
function codeOf(text: string): string {
  return text.replaceAll(/\/\*.*?\*\/|(?<=^|\s)\/\/[^\n]*/gs, '');
}

/** The code with empty texts between single quotes: a message may name what it warns about. */
function withoutTexts(code: string): string {
  return code.replaceAll(/'[^'\n]*'/g, "''");
}

/** Head and body of each loop that does not iterate over elements. */
function loopsIn(code: string): string[] {
  return Array.from(code.matchAll(/\b(for(?: await)?|while|do)\s*(?=[({]|\w)/g), ({ index, 0: found, 1: keyword }) => {
    const rest = code.slice(index + found.length);
    if (keyword === 'do') return `${found}${rest.slice(0, endOf(rest) + endOf(rest.slice(endOf(rest))))}`;
    if (!rest.startsWith('(')) return '';
    const head = rest.slice(0, endOfBrackets(rest));
    if (keyword !== 'while' && / of /.test(head)) return '';
    return `${found}${head}${rest.slice(head.length, head.length + endOf(rest.slice(head.length)))}`;
  }).filter((loop) => loop !== '');
}

/** The end of the first statement: behind its block or its semicolon. */
function endOf(code: string): number {
  const start = code.search(/\S/);
  if (code[start] === '{') return start + endOfBrackets(code.slice(start));
  const end = code.indexOf(';');
  return end === -1 ? code.length : end + 1;
}

/** Where the bracket is closed with which the code begins. */
function endOfBrackets(code: string): number {
  let depth = 0;
  for (const [index, character] of [...code].entries()) {
    if ('({['.includes(character)) depth += 1;
    if (')}]'.includes(character)) depth -= 1;
    if (depth === 0) return index + 1;
  }
  return code.length;
}
