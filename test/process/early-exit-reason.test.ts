/**
 * The message of an early exit has the lines that name the reason, not just the last line, whatever language the server
 * is written in.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { EarlyExitError, ProcessManager } from '../../src/index.js';
import { plainFixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

const removals: (() => void)[] = [];
let goProgram = '';

before(() => {
  goProgram = join(temporaryFolder({ after: (remove) => void removals.push(remove as () => void) }), 'crash');
  execFileSync('go', ['build', '-o', goProgram, plainFixture('crashes/crash.go')], {
    env: { ...process.env, GOFLAGS: '-mod=mod', GOPROXY: 'off', CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
  });
});

test.after(() => {
  for (const remove of removals) remove();
});

/** Some of these servers are compiled first, on a machine that is shared. */
const START_TIMEOUT_MS = 60_000;

const LINES = 10;

/** For each language: how its server is run, and the lines that somebody who fixes it has to read. */
const crashes: Record<string, { words: () => [string, ...string[]]; reasons: readonly string[] }> = {
  Node: {
    words: () => [process.execPath, plainFixture('crashes/crash.mjs')],
    reasons: ['Error: listen EADDRINUSE: address already in use 127.0.0.1:8080', '  port: 8080'],
  },
  Go: {
    words: () => [goProgram],
    reasons: [
      'panic: assignment to entry in nil map [recovered]',
      '\tpanic: cannot serve: assignment to entry in nil map',
    ],
  },
  Java: {
    words: () => ['java', plainFixture('crashes/Crash.java')],
    reasons: [
      'Exception in thread "main" java.lang.IllegalStateException: the server cannot be started',
      'Caused by: java.lang.IllegalArgumentException: port out of range: 70000',
    ],
  },
  Python: {
    words: () => ['python3', plainFixture('crashes/crash.py')],
    reasons: [
      'json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)',
      'RuntimeError: the settings cannot be read',
    ],
  },
};

/** What the lines of a stack trace look like in these languages. */
const TRACE = /^\s+at |^ *File "|^goroutine |\.go:\d+|^Node\.js v/;

for (const [language, { words, reasons }] of Object.entries(crashes)) {
  test(`the message about a server in ${language} that ends early has the reason, indented, and no stack trace`, async (t) => {
    const [command, ...args] = words();
    const env = { GOTRACEBACK: 'all' };
    const spec = await redisSpec(t, { command, args, env, startTimeoutMs: START_TIMEOUT_MS });
    await assert.rejects(new ProcessManager(spec).start(), (error) => {
      assert.ok(error instanceof EarlyExitError, String(error));
      const [first = '', ...lines] = error.message.split('\n');
      assert.match(first, /^Cannot start redis: it ended (with exit code \d+|by SIG\w+) before it was ready; /);
      for (const reason of reasons) assert.ok(lines.includes(`    ${reason}`), `${reason}\nin\n${error.message}`);
      assert.ok(
        lines.every((line) => line.startsWith('    ')),
        error.message,
      );
      assert.ok(lines.length <= LINES, error.message);
      assert.ok(!lines.some((line) => TRACE.test(line.slice(4))), error.message);
      return true;
    });
  });
}

/** For each server: what it runs, and the reason in the message. */
const outputs: Record<string, { words: readonly [string, ...string[]]; reason: string }> = {
  'in Python without source lines in its trace': {
    words: ['python3', '-c', 'def f():\n  raise ValueError("no such table\\nrun the migration")\nf()'],
    reason: 'last in its log "LOG":\n    ValueError: no such table\n    run the migration',
  },
  'in Node with colours': {
    words: [
      '/bin/sh',
      '-c',
      `printf '\\033[31mError: no such table\\033[39m\\n\\033[90m    at main (x.js:1:1)\\033[39m\\n'; exit 1`,
    ],
    reason: 'last in its log "LOG":\n    Error: no such table',
  },
  'that ends its lines as on Windows': {
    words: ['/bin/sh', '-c', `printf 'no such table\\r\\n\\r\\n'; exit 1`],
    reason: 'last in its log "LOG":\n    no such table',
  },
  'that logs empty lines': {
    words: ['/bin/sh', '-c', `printf '\\n \\n\\t\\r\\n'; exit 1`],
    reason: 'nothing in its log "LOG"',
  },
};

for (const [what, { words, reason }] of Object.entries(outputs)) {
  test(`the message about a server ${what} has the reason, and nothing else`, async (t) => {
    const [command, ...args] = words;
    const manager = new ProcessManager(await redisSpec(t, { command, args }));
    const { logFile } = manager.spec;
    await assert.rejects(manager.start(), {
      name: 'EarlyExitError',
      message: `Cannot start redis: it ended with exit code 1 before it was ready; ${reason.replace('LOG', logFile)}`,
    });
  });
}

test('without a stack trace the message has the last ten lines of the log, each cut to a readable length', async (t) => {
  const script = 'seq 1 30; echo; printf "%01000d\\n" 7; exit 3';
  const spec = await redisSpec(t, { command: '/bin/sh', args: ['-c', script] });
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    const [, ...lines] = (error as Error).message.split('\n');
    assert.deepEqual(
      lines.slice(0, -1),
      Array.from({ length: LINES - 1 }, (_, index) => `    ${22 + index}`),
    );
    assert.ok((lines.at(-1)?.length ?? 0) < 400, lines.at(-1));
    return true;
  });
});

test('a log of nothing but a stack trace is given as it is', async (t) => {
  const script = 'echo "    at one (x.js:1:1)"; echo "    at two (x.js:2:1)"; exit 3';
  const spec = await redisSpec(t, { command: '/bin/sh', args: ['-c', script] });
  await assert.rejects(new ProcessManager(spec).start(), {
    name: 'EarlyExitError',
    message: /\n {8}at one \(x\.js:1:1\)\n {8}at two \(x\.js:2:1\)$/,
  });
});
