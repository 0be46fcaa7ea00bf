/** Processes that a poisoned PID file may name, and that must survive. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessManager } from '../../src/index.js';
import { isRunningProcess, isZombie, startSecond, startTicks } from './evidence.js';
import { startProgram } from './programs.js';
import { redisPid } from './redis.js';
import { freePort, killAfter, temporaryFolder } from './resources.js';
import { redisSpec } from './servers.js';
import { eventually } from './waiting.js';

type Test = Parameters<typeof startProgram>[0];

export interface Bystanders {
  /** A redis-server that no manager ever started. */
  plain: { pid: number; startTime: number; threadId: number };
  /** A healthy redis-server of another manager. */
  managed: { pid: number; startTime: number; pidFile: string };
  zombie: number;
  /** A PID that no process has: its process has ended. */
  dead: number;
  kernelThread: number;
  /** A file whose content must not change. */
  treasure: string;
  /** @throws when a bystander is gone or was replaced, or when one of their files has changed */
  assertUnharmed(): Promise<void>;
}

export async function startBystanders(t: Test): Promise<Bystanders> {
  const folder = temporaryFolder(t);
  const port = await freePort();
  const plain = startProgram(t, 'redis-server', ['--port', String(port), '--save', '', '--dir', folder]);
  await plain.printed(/Ready to accept connections/);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const managed = await manager.start();
  const record = readFileSync(manager.spec.pidFile, 'utf8');
  const treasure = join(folder, 'treasure');
  writeFileSync(treasure, 'treasure');
  const ticks = [plain.pid, managed.pid].map(startTicks);

  return {
    plain: { pid: plain.pid, startTime: startSecond(plain.pid), threadId: await threadOf(plain.pid) },
    managed: { pid: managed.pid, startTime: startSecond(managed.pid), pidFile: manager.spec.pidFile },
    zombie: await zombie(t),
    dead: await deadPid(t),
    kernelThread: kernelThread(),
    treasure,
    assertUnharmed: async () => {
      assert.deepEqual([plain.pid, managed.pid].map(startTicks), ticks);
      assert.deepEqual(
        await Promise.all([redisPid(port), redisPid(spec.port)]),
        [plain, managed].map(({ pid }) => pid),
      );
      assert.equal(readFileSync(manager.spec.pidFile, 'utf8'), record);
      assert.equal(readFileSync(treasure, 'utf8'), 'treasure');
      assert.equal((await manager.status()).state, 'running');
    },
  };
}

/**
 * A thread other than the main thread of its process. It has an entry in /proc like a process, but no listing shows it.
 */
export async function threadOf(pid: number): Promise<number> {
  return await eventually(`PID ${pid} has more than one thread`, () => {
    const threads = readdirSync(`/proc/${pid}/task`).map(Number);
    return threads.find((thread) => thread !== pid);
  });
}

/** A zombie: the child of a shell that has replaced itself by a program that never reaps children. */
async function zombie(t: Test): Promise<number> {
  const parent = startProgram(t, '/bin/sh', ['-c', 'sleep 300 & echo $!; exec sleep 300']);
  const pid = killAfter(t, Number((await parent.printed(/(\d+)\n/))[1]));
  await eventually('the shell has become sleep', () => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n');
  process.kill(pid, 'SIGKILL');
  await eventually('the killed process is a zombie', () => isZombie(pid));
  return pid;
}

async function deadPid(t: Test): Promise<number> {
  const program = startProgram(t, 'true');
  await program.ended();
  assert.equal(isRunningProcess(program.pid), false);
  return program.pid;
}

/** PID of a kernel thread. A container shows none, so it falls back to a PID that only a kernel thread has. */
function kernelThread(): number {
  const pids = readdirSync('/proc').map(Number);
  return pids.find((pid) => pid > 1 && isKernelThread(pid)) ?? 2;
}

function isKernelThread(pid: number): boolean {
  try {
    return /^PPid:\s+[02]$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) && isRunningProcess(pid);
  } catch {
    // ENOENT, ESRCH: the process is gone.
    return false;
  }
}
