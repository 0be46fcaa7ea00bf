/** With `DEBUG=flock-process:*` a call logs what it does, in order. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ProcessSpec } from '../../src/index.js';
import type { OneCall } from '../fixtures/one-call.js';
import { oneCallCommand } from '../helpers/one-call.js';
import { startProgram } from '../helpers/programs.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';

/** The logged lines of one call: the layer and the words of each, without what differs from run to run. */
async function storyOf(t: TestContext, method: OneCall['method'], spec: ProcessSpec): Promise<string[]> {
  const [command, ...args] = oneCallCommand(method, spec);
  const env = { ...process.env, DEBUG: 'flock-process:*', DEBUG_COLORS: 'no', DEBUG_HIDE_DATE: 'yes' };
  const { stderr } = await startProgram(t, command, args, { env }).ended();
  const lines = stderr.split('\n').filter((line) => line !== '');
  const told = lines.map((line) =>
    line
      .replace(/^flock-process:/, '')
      .replace(/\S*\/(\w[\w.-]*)/g, '$1')
      .replace(/\d+/g, 'N')
      .replace(/ \(PID N, descriptor N\)/, ''),
  );
  // A check is repeated as often as it takes, and counts once here.
  return told.filter((line, index) => line !== told[index - 1]);
}

const unreachable = 'port N.N.N.N:N cannot be reached: connect ECONNREFUSED N.N.N.N:N';
const begin = [
  'lock acquired redis.lock',
  'journal redis.journal: start (PID N)',
  'lock acquired port-N.lock',
  unreachable,
  'start spawned redis: PID N, redis-server',
];
const end = ['start redis is ready: PID N', 'lock handed over redis.lock', 'lock handed over port-N.lock'];

/** Drops the failed checks of the port after the spawn: how many there are before the port opens is chance. */
const withoutLooks = (story: readonly string[]) =>
  story.filter((line, index) => line !== unreachable || index < begin.length);

test('DEBUG output tells in order of a start, a second start, a stop, and a start after it', async (t) => {
  const spec = await redisSpec(t);
  assert.deepEqual(withoutLooks(await storyOf(t, 'start', spec)), [
    ...begin,
    'journal redis.journal: spawn (PID N)',
    'pid-file redis.pid names PID N',
    'journal redis.journal: ready (PID N)',
    ...end,
  ]);
  assert.deepEqual(await storyOf(t, 'start', spec), ['start redis runs already: PID N']);
  assert.deepEqual(await storyOf(t, 'status', spec), [], 'a status() that gets its answer logs nothing');
  const stopping = (await storyOf(t, 'stop', spec)).filter(
    (line) => line !== 'lock refused redis.lock: holder (PID N)',
  );
  assert.deepEqual(stopping, [
    'journal redis.journal: stop (PID N)',
    'terminate SIGTERM to group N',
    'terminate SIGCONT to group N',
    'lock acquired redis.lock',
    'lock handed over redis.lock',
    'stop redis: stopped',
    'journal redis.journal: stopped (PID N)',
  ]);
  assert.deepEqual((await storyOf(t, 'start', spec)).slice(0, begin.length), begin);
});

test('DEBUG output of a failed start says why it failed, and what is done about it', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 600_000, 'exit-after': 20, 'exit-code': 3 });
  const story = await storyOf(t, 'start', spec);
  const failure = story.findIndex((line) => line.startsWith('start the start of node-server failed'));
  assert.match(
    story[failure] ?? '',
    /its process is ended: Cannot start node-server: it ended with exit code N before/,
  );
  assert.match(story[failure - 1] ?? '', /^(journal .*exit|pid-file .* names|port .* cannot be reached)/);
  assert.deepEqual(story.slice(-2), ['lock handed over port-N.lock', 'lock handed over node-server.lock']);
});
