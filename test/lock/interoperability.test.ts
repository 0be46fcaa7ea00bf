import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { plainFixture } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };

const folders: (() => void)[] = [];
let goProgram = '';

before(() => {
  goProgram = join(temporaryFolder({ after: (remove) => void folders.push(remove as () => void) }), 'lock');
  execFileSync('go', ['build', '-o', goProgram, plainFixture('lock.go')], {
    env: { ...process.env, GOFLAGS: '-mod=mod', GOPROXY: 'off', CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
  });
});

test.after(() => {
  for (const remove of folders) remove();
});

type Kind = 'ex' | 'sh';

/** Programs that lock PATH and keep the lock, each with its own call of flock(2). */
const lockers: Record<string, (path: string, kind: Kind) => [command: string, ...args: string[]]> = {
  'fcntl.flock of Python': (path, kind) => ['python3', plainFixture('lock.py'), path, kind],
  'syscall.Flock of Go': (path, kind) => [goProgram, path, kind],
  'flock(1) of util-linux': (path, kind) => ['/bin/sh', plainFixture('lock.sh'), path, kind, 'flock'],
};
if (spawnSync('busybox', ['flock', '--help']).status === 0) {
  lockers['flock(1) of busybox'] = (path, kind) => ['/bin/sh', plainFixture('lock.sh'), path, kind, 'busybox', 'flock'];
}

for (const [name, commandOf] of Object.entries(lockers)) {
  const start = (t: TestContext, path: string, kind: Kind): Program => {
    const [command, ...args] = commandOf(path, kind);
    return startProgram(t, command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  };
  const end = async (program: Program) => {
    program.child.stdin?.end();
    await program.ended();
  };

  test(`${name} sees our lock while it is held, and not after its release`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const lock = acquireLock(path);
    await start(t, path, 'ex').printed(/refused/);
    await start(t, path, 'sh').printed(/refused/);
    lock.release();
    await start(t, path, 'ex').printed(/held/);
  });

  test(`we see the lock of ${name}, wait for it and get it`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const holder = start(t, path, 'ex');
    await holder.printed(/held/);
    assert.equal(isLocked(path), true);
    assert.throws(() => acquireLock(path), heldError);
    const waiting = waitForLock(path);
    await end(holder);
    (await waiting).release();
  });

  test(`a shared lock of ${name} does not count as held, but no acquire succeeds while it is kept`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const holder = start(t, path, 'sh');
    await holder.printed(/held/);
    assert.equal(isLocked(path), false);
    assert.throws(() => acquireLock(path), heldError);
    await end(holder);
    acquireLock(path).release();
  });

  test(`${name} sees a lock that we handed over until the process that inherited it is gone`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const lock = acquireLock(path);
    const heir = startProgram(t, '/bin/sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
    lock.handOver();
    await start(t, path, 'ex').printed(/refused/);
    heir.kill();
    await heir.ended();
    await start(t, path, 'ex').printed(/held/);
  });
}
