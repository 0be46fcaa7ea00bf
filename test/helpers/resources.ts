/** Temp folders, ports and counts: a fresh one for each test. */
import { randomInt } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { killUnlessGone } from './evidence.js';

/** A new empty folder, removed with everything in it after the test. */
export function temporaryFolder(test: Pick<TestContext, 'after'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'flock-process-test-'));
  test.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** Ports below the range of outgoing connections, so that no process is given one of these by chance. */
const PORTS = { first: 10_000, last: 32_000 };

/** The claimed ports, shared by all test runs of the machine, whatever their TMPDIR is. */
const CLAIMS = '/tmp/flock-process-test-ports';

/** An older claim is left over: no test needs its port for so long. */
const CLAIM_AGES_AFTER_MS = 900_000;

/** A TCP port on 127.0.0.1 on which nobody listens, and which no other test gets. */
export async function freePort(): Promise<number> {
  for (let port = randomInt(PORTS.first, PORTS.last); ; port = port < PORTS.last ? port + 1 : PORTS.first) {
    if (claim(port) && (await canListen(port))) return port;
  }
}

function claim(port: number): boolean {
  const path = `${CLAIMS}/${port}`;
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      mkdirSync(CLAIMS, { recursive: true });
      chmodSync(CLAIMS, 0o777); // some tests run their subject as another user
      return claim(port);
    }
    if (code !== 'EEXIST') throw error;
  }
  try {
    // When two processes find the same old claim, only one of them can remove it.
    if (Date.now() - statSync(path).mtimeMs > CLAIM_AGES_AFTER_MS) rmdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return false;
}

async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  const isListening = await new Promise<boolean>((resolve) =>
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)),
  );
  if (isListening) await new Promise((closed) => server.close(closed));
  return isListening;
}

/** The full count when CI=true, otherwise a tenth of it, but at least `least`. */
export function rounds(whole: number, { least = 2 }: { least?: number } = {}): number {
  return process.env.CI === 'true' ? whole : Math.max(least, Math.round(whole / 10));
}

/** Kills the process (SIGKILL, this PID alone) after the test if it still runs. Returns the PID. */
export function killAfter(test: Pick<TestContext, 'after'>, pid: number): number {
  test.after(() => killUnlessGone(pid));
  return pid;
}
