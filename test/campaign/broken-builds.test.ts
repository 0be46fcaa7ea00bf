import assert from 'node:assert/strict';
import { test } from 'node:test';
import { breakLine, readBrokenBuilds } from './broken-builds.js';

test('every row of the campaign has a line that breaks it, and each is there once, and changed by what replaces it', () => {
  const unchanged = readBrokenBuilds().filter(({ line, broken }) => broken.trim() === line);
  assert.deepEqual(unchanged, []);
});

test('of a text exactly one line is broken', () => {
  const build = { laws: [1], row: 'a row', breaks: 'it', file: 'a file', line: 'b();', broken: 'c();' };
  assert.equal(
    breakLine('a();\n  b();\nb(); // not the whole line\n', build),
    'a();\nc();\nb(); // not the whole line\n',
  );
  assert.throws(() => breakLine('a();\n', build), /a file has 0 lines "b\(\);"/);
  assert.throws(() => breakLine('b();\nb();\n', build), /a file has 2 lines "b\(\);"/);
});
