/** Temp folders, ports and counts: a fresh one for each test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A new empty folder, removed with everything in it after the test. */
export function temporaryFolder(test: Pick<TestContext, 'after'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'flock-process-test-'));
  test.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** A TCP port on 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening, failed) => server.once('error', failed).listen(0, '127.0.0.1', listening));
  const address = server.address();
  await new Promise((closed) => server.close(closed));
  if (address === null || typeof address === 'string') throw new Error('no TCP address');
  return address.port;
}

/** The count that an issue names, whole in CI (CI=true), a tenth of it (at least `least`) on a newcomer's machine. */
export function rounds(whole: number, { least = 2 }: { least?: number } = {}): number {
  return process.env.CI === 'true' ? whole : Math.max(least, Math.round(whole / 10));
}

/** Ends the process (SIGKILL, this PID alone) after the test, when it is still there. Returns the PID. */
export function killAfter(test: Pick<TestContext, 'after'>, pid: number): number {
  test.after(() => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  });
  return pid;
}
