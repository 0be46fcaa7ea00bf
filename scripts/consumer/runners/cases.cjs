/**
 * The cases that a test file of each runner runs, with a real lock and a real redis-server. No code here uses a timer or a clock, because
 * the runner may have replaced them: it waits for streams, and the runner is killed if it waits for ever.
 */
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { appendFileSync, existsSync, mkdirSync, mkdtempSync, symlinkSync } = require('node:fs');
const { connect } = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const TEN_YEARS_MS = 315_360_000_000;

/** How far the fake clock is ahead of the system's clock. */
const FAKE_CLOCKS = { 'a fake clock': 0, 'a fake clock that is years ahead': TEN_YEARS_MS };

/**
 * @typedef {object} Runner
 * @property {typeof import('flock-process')} library as this runner loads it
 * @property {(title: string, work: (equal: (actual: unknown, expected: unknown) => void) => Promise<void>) => void} test
 * @property {(ms: number) => void} useFakeTimers its fake timers, with the clock at this time
 * @property {() => void} useRealTimers
 */

const CASES = {
  'a second acquire is refused until the first lock is released': async ({ library, equal, folder }) => {
    const path = join(folder, 'job.lock');
    equal(library.isLocked(path), false);
    equal(existsSync(path), false);
    const lock = library.acquireLock(path);
    equal(library.isLocked(path), true);
    equal(await library.lockHolders(path), [process.pid]);
    equal(
      refusal(library, 'LockHeldError', () => library.acquireLock(path)),
      `ERR_LOCK_HELD ${path}`,
    );
    library.releaseLock(lock);
    equal(library.isLocked(path), false);
    library.acquireLock(path).release();
  },

  'what cannot be read is an error': ({ library, equal, folder }) => {
    const directory = join(folder, 'directory.lock');
    mkdirSync(directory);
    const loop = join(folder, 'loop.lock');
    symlinkSync(loop, loop);
    for (const path of [directory, loop, '/dev/null']) {
      for (const call of ['isLocked', 'acquireLock']) {
        const seen = refusal(library, 'LockUnavailableError', () => library[call](path));
        equal(seen, `ERR_LOCK_UNAVAILABLE ${path}`);
      }
    }
  },

  'an ephemeral server answers, and nothing of it is left': useEphemeralServer,

  'two users share a server, and the last one ends it': async ({ library, equal }) => {
    const first = await library.startShared(redis, { key: 'cases' });
    const second = await library.startShared(redis, { key: 'cases' });
    equal([first.reused, second.reused], [false, true]);
    equal(second.pid, first.pid);
    await first.leave();
    equal(await ping(second.port), '+PONG');
    await second.leave();
    await equalsNothing(equal, second);
  },
};

/** Each of these cases waits for a time limit, or for a check that the library repeats. */
const CLOCK_CASES = {
  'acquireLock beside a shared lock ends': async ({ library, equal, folder }) => {
    const path = join(folder, 'shared.lock');
    const stranger = await holdSharedLock(path);
    try {
      equal(
        refusal(library, 'LockHeldError', () => library.acquireLock(path)),
        `ERR_LOCK_HELD ${path}`,
      );
    } finally {
      await stranger.end();
    }
    library.acquireLock(path).release();
  },

  'waitForLock times out': async ({ library, equal, folder }) => {
    const path = join(folder, 'held.lock');
    const lock = library.acquireLock(path);
    const error = await library.waitForLock(path, { timeoutMs: 50 }).catch((reason) => reason);
    equal(error instanceof library.LockHeldError, true);
    const next = library.waitForLock(path);
    lock.release();
    (await next).release();
  },

  'an ephemeral server starts and stops': useEphemeralServer,
};

const ALL_CASES = [
  ...Object.entries(CASES).map(([title, work]) => ({ title, work })),
  ...Object.entries(FAKE_CLOCKS).flatMap(([clock, aheadMs]) =>
    Object.entries(CLOCK_CASES).map(([title, work]) => ({ title: `${title}, under ${clock}`, work, aheadMs })),
  ),
];

exports.titles = ALL_CASES.map(({ title }) => title);

/** @param {Runner} runner */
exports.defineCases = (runner) => {
  for (const { title, work, aheadMs } of ALL_CASES) {
    runner.test(title, async (equal) => {
      const context = { library: runner.library, equal, folder: mkdtempSync(join(tmpdir(), 'case-')) };
      if (aheadMs === undefined) await work(context);
      else await underFakeClock(runner, { aheadMs, context, work });
      // A runner that skips a case, or hides its failure, does not reach this line.
      appendFileSync(process.env.CASES_PASSED, `${title}\n`);
    });
  }
};

async function underFakeClock({ useFakeTimers, useRealTimers }, { aheadMs, context, work }) {
  useFakeTimers(Date.now() + aheadMs);
  try {
    const before = Date.now();
    await work(context);
    context.equal(Date.now(), before);
  } finally {
    useRealTimers();
  }
}

async function useEphemeralServer({ library, equal }) {
  const instance = await library.startEphemeral(redis);
  equal(await ping(instance.port), '+PONG');
  equal((await instance.manager.status()).state, 'running');
  await instance.stop();
  await equalsNothing(equal, instance);
}

/** Requires that nothing is left. A process that still runs, even if it is not seen here, fails the run. */
async function equalsNothing(equal, { manager, port, stateDir }) {
  const { state } = await manager.status();
  const answer = await ping(port).catch(({ code }) => code);
  equal(
    { state, answer, isFolderThere: existsSync(stateDir) },
    { state: 'stopped', answer: 'ECONNREFUSED', isFolderThere: false },
  );
}

function redis({ port, stateDir }) {
  return {
    name: 'redis',
    command: 'redis-server',
    args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir],
    port,
    stateDir,
    isHealthy: async () => (await ping(port)) === '+PONG',
  };
}

async function ping(port) {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = await once(socket, 'data');
    return answer.trim();
  } finally {
    socket.destroy();
  }
}

/** Another process keeps LOCK_SH, which is no lock of this library. */
async function holdSharedLock(path) {
  const holder = spawn('flock', ['-s', path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  await once(holder.stdout, 'data');
  return {
    async end() {
      holder.stdin.end();
      await exited;
    },
  };
}

/** Code and path of the error, if it is of this class and has the right base classes. */
function refusal(library, name, call) {
  try {
    call();
    return 'no error';
  } catch (error) {
    const isOurs = error instanceof library[name] && error instanceof library.FlockProcessError && error.name === name;
    return isOurs ? `${error.code} ${error.path}` : `another error: ${error}`;
  }
}
