/** What a tied process is given, compared with a detached process of the same command. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import {
  argumentsOf,
  descriptorsOf,
  environmentOf,
  settledDescriptorsOf,
  settledWatcherOf,
  startOwner,
  statusField,
  watcherOf,
} from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

/** Starts sleep(1), which changes nothing of what it is given. */
async function started(t: TestContext, changes: Partial<ProcessSpec>): Promise<{ pid: number; spec: ProcessSpec }> {
  const { port: _, ...spec } = await redisSpec(t, { command: 'sleep', args: ['300'], name: 'sleep', ...changes });
  const { pid } = await new ProcessManager(spec).start();
  await isLoaded(pid, spec);
  return { pid, spec };
}

/**
 * A process without a port is ready when it has lived for a while. On a busy machine the shell may not have run the
 * command by then.
 */
async function isLoaded(pid: number, { command }: ProcessSpec): Promise<void> {
  await eventually(`PID ${pid} is ${command}`, () => basename(argumentsOf(pid)[0] ?? '') === basename(command));
}

/** The descriptors of the process; its state folder is written as STATE. */
async function openIn({ pid, spec }: Awaited<ReturnType<typeof started>>): Promise<string[]> {
  const folder = realpathSync(spec.stateDir);
  return Object.entries(await settledDescriptorsOf(pid)).map(([fd, link]) => `${fd} ${link.replace(folder, 'STATE')}`);
}

const FIELDS = [
  'SigQ',
  'SigPnd',
  'ShdPnd',
  'SigBlk',
  'SigIgn',
  'SigCgt',
  'Umask',
  'Uid',
  'Gid',
  'CapEff',
  'NoNewPrivs',
];

test('signals, mask, limits, streams and descriptors of a tied process are those of a detached one', async (t) => {
  const [detached, tied] = [await started(t, {}), await started(t, { lifetime: 'tied' })];
  for (const field of FIELDS.slice(1))
    assert.equal(statusField(tied.pid, field), statusField(detached.pid, field), field);
  const limits = [tied, detached].map(({ pid }) => readFileSync(`/proc/${pid}/limits`, 'utf8'));
  assert.equal(limits[0], limits[1]);
  const [ofTied, ofDetached] = [await openIn(tied), await openIn(detached)];
  // Further descriptors can come from the program that runs the tests.
  const first = ['0 /dev/null', '1 STATE/logs/sleep.log', '2 STATE/logs/sleep.log', '3 STATE/sleep.lock'];
  assert.deepEqual(ofTied.slice(0, 4), first);
  assert.deepEqual(ofDetached, ofTied);
});

test('a tied process is the one that Node spawned, leads its session, and is run with the same arguments', async (t) => {
  const { port: _, ...spec } = await redisSpec(t, { command: 'sleep', args: ['300'], lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  const spawned: number[] = [];
  manager.on('spawned', ({ pid }) => spawned.push(pid));
  const { pid } = await manager.start();
  await isLoaded(pid, spec);
  assert.deepEqual(spawned, [pid]);
  assert.equal(Number(statusField(pid, 'PPid')), process.pid);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
    .map(Number);
  assert.deepEqual(stat.slice(2, 4), [pid, pid]);
  const [first, ...others] = argumentsOf(pid);
  // A shell cannot give a program another first argument than the file that it runs.
  assert.equal(first, readlinkFirst(pid, first));
  assert.deepEqual(others, ['300']);
});

test('the environment of a tied process is that of a detached one, except for what /bin/sh adds or cannot name', async (t) => {
  process.env['npm_config_//registry.example/:_authToken'] = 'inherited';
  t.after(() => delete process.env['npm_config_//registry.example/:_authToken']);
  const env = {
    FLOCK_PROCESS_TEST_ODD: 'a=b\nc $HOME',
    FLOCK_PROCESS_TEST_EMPTY: '',
    server: 'mine',
    waiter: 'mine',
    ENV: '/nonexistent/startup',
    BASH_ENV: '/nonexistent/startup',
    PWD: realpathSync('/tmp'),
  };
  const cwd = realpathSync('/tmp');
  const [detached, tied] = [await started(t, { env, cwd }), await started(t, { env, cwd, lifetime: 'tied' })];
  const [plain, through] = [environmentOf(detached.pid), environmentOf(tied.pid)];
  const added = Object.keys(through).filter((name) => !(name in plain));
  t.diagnostic(
    `/bin/sh (${readlinkSync('/proc/self/exe') && realpathSync('/bin/sh')}) adds: ${added.join(', ') || 'nothing'}`,
  );
  assert.deepEqual(
    added.filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name)),
    [],
  );
  // bash counts its nesting in SHLVL, and names in _ what it runs.
  const { SHLVL: _1, _: _2, ...expected } = plain;
  assert.ok('npm_config_//registry.example/:_authToken' in expected);
  for (const [name, value] of Object.entries(expected).filter(([name]) => /^\w+$/.test(name))) {
    assert.equal(through[name], value, name);
  }
  assert.equal(readlinkSync(`/proc/${tied.pid}/cwd`), cwd);
});

test('arguments reach a tied process unchanged: no splitting, no expansion, empty ones included', async (t) => {
  const args = [
    '300',
    'two words',
    '',
    '$HOME',
    '`id`',
    '"quoted"',
    "it's",
    '*',
    ';exit',
    'new\nline',
    'größer',
    '-n',
    '--',
  ];
  const command = process.execPath;
  const script = 'setInterval(() => 0, 1 << 30)';
  const { pid } = await started(t, { command, args: ['-e', script, '--', ...args], lifetime: 'tied' });
  assert.deepEqual(argumentsOf(pid), [command, '-e', script, '--', ...args]);
});

test('the IPC channel, NODE_OPTIONS and the working folder of an owner do not change what its server is given', async (t) => {
  const folder = dirname((await redisSpec(t)).stateDir);
  const spec = await redisSpec(t);
  const env = { ...process.env, NODE_OPTIONS: '--no-warnings --title=titled', NODE_CHANNEL_SERIALIZATION_MODE: 'json' };
  const owner = await startOwner(t, spec, 'stays', { env, cwd: folder });
  assert.deepEqual(Object.keys(descriptorsOf(owner.pid)).slice(0, 4), ['0', '1', '2', '3']);
  // The watcher has settled when it has left the folder of its owner.
  const watcher = await settledWatcherOf(owner.pid);
  assert.match(readlinkSync(`/proc/${watcher}/exe`), /\/(dash|bash|busybox|sh)$/);
  assert.equal(environmentOf(owner.pid).NODE_CHANNEL_FD, undefined);
});

test('the watcher is in the group of the process, and does not keep the lock', async (t) => {
  const { pid, spec } = await started(t, { lifetime: 'tied' });
  const watcher = watcherOf(pid);
  const stat = readFileSync(`/proc/${watcher}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
    .map(Number);
  assert.deepEqual(stat.slice(2, 4), [pid, pid]);
  const { lockFile } = new ProcessManager(spec).spec;
  assert.equal(Object.values(descriptorsOf(watcher)).includes(realpathSync(lockFile)), false);
  for (const signal of [1, 2, 3, 10, 12, 15]) {
    const ignored = BigInt(`0x${statusField(watcher, 'SigIgn')}`);
    assert.equal((ignored >> BigInt(signal - 1)) & 1n, 1n, `signal ${signal}`);
  }
});

function readlinkFirst(pid: number, first: string | undefined): string | undefined {
  return realpathSync(first ?? '') === readlinkSync(`/proc/${pid}/exe`) ? first : undefined;
}

test('a tied server whose path contains "=" is run: the shell does not take the path for a variable', async (t) => {
  const spec = sleepSpec(t, { lifetime: 'tied' });
  const folder = join(spec.stateDir, '..', 'a=b');
  mkdirSync(folder);
  const command = join(folder, 'sleep');
  copyFileSync('/bin/sleep', command);
  chmodSync(command, 0o755);
  const manager = new ProcessManager({ ...spec, command });
  const { pid } = await manager.start();
  await eventually('the process runs', () => argumentsOf(pid)[0] === command);
  assert.equal((await manager.stop()).outcome, 'stopped');
});
