/** What the managed process is given: arguments, environment, folder, streams and session. */
import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { redisSpec } from '../helpers/servers.js';

interface Surroundings {
  words: string[];
  environment: Record<string, string>;
  folder: string;
  session: number;
  group: number;
  pid: number;
  streams: string[];
}

const PROGRAM = plainFixture('surroundings.mjs');

async function startedWith(
  t: TestContext,
  changes: Partial<ProcessSpec>,
): Promise<Surroundings & { spec: ProcessSpec }> {
  const { port: _, ...spec } = await redisSpec(t, { command: 'node', args: [PROGRAM], ...changes });
  const manager = new ProcessManager(spec);
  await manager.start();
  const [line] = await logged(manager.spec.logFile, /^\{.*\}$/m);
  return { ...(JSON.parse(line) as Surroundings), spec };
}

test('arguments reach the process unchanged: no shell, no splitting, empty ones included', async (t) => {
  const args = ['two words', '', '$HOME', '`id`', '"quoted"', "it's", '*', ';exit', 'new\nline', 'größer', '-n', '--'];
  const { words } = await startedWith(t, { args: [PROGRAM, ...args] });
  assert.deepEqual(words, ['node', PROGRAM, ...args]);
});

test("the process gets the caller's environment with the changes of env, in which undefined removes a variable", async (t) => {
  process.env.FLOCK_PROCESS_TEST_KEPT = 'kept';
  process.env.FLOCK_PROCESS_TEST_CHANGED = 'old';
  process.env.FLOCK_PROCESS_TEST_REMOVED = 'there';
  t.after(() => {
    for (const name of ['KEPT', 'CHANGED', 'REMOVED']) delete process.env[`FLOCK_PROCESS_TEST_${name}`];
  });
  const { environment } = await startedWith(t, {
    env: {
      FLOCK_PROCESS_TEST_CHANGED: 'new',
      FLOCK_PROCESS_TEST_REMOVED: undefined,
      FLOCK_PROCESS_TEST_NEVER_THERE: undefined,
      FLOCK_PROCESS_TEST_EMPTY: '',
      FLOCK_PROCESS_TEST_ODD: 'a=b\nc $HOME',
    },
  });
  const ours = Object.entries(environment).filter(([name]) => /^FLOCK_PROCESS_TEST_(?!RUN)/.test(name));
  assert.deepEqual(Object.fromEntries(ours), {
    FLOCK_PROCESS_TEST_KEPT: 'kept',
    FLOCK_PROCESS_TEST_CHANGED: 'new',
    FLOCK_PROCESS_TEST_EMPTY: '',
    FLOCK_PROCESS_TEST_ODD: 'a=b\nc $HOME',
  });
  assert.equal(environment.PATH, process.env.PATH);
});

test('the process runs in cwd, and without a cwd in the folder of the caller', async (t) => {
  const plain = await startedWith(t, {});
  assert.equal(plain.folder, process.cwd());
  const folder = realpathSync(dirname(plain.spec.stateDir));
  assert.equal((await startedWith(t, { cwd: folder })).folder, folder);
});

test('the process leads a session and a group of its own', async (t) => {
  const { pid, session, group } = await startedWith(t, {});
  assert.deepEqual([session, group], [pid, pid]);
});

test('the process has /dev/null as stdin, the log as stdout and stderr, and the lock as descriptor 3', async (t) => {
  const { streams, spec } = await startedWith(t, {});
  const folder = realpathSync(spec.stateDir);
  const logFile = `${folder}/logs/redis.log`;
  assert.deepEqual(streams, ['/dev/null', logFile, logFile, `${folder}/redis.lock`]);
});

test('the first argument is the command as the spec gives it', async (t) => {
  assert.equal((await startedWith(t, { command: 'node' })).words[0], 'node');
  assert.equal((await startedWith(t, { command: process.execPath })).words[0], process.execPath);
});
