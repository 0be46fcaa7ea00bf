/**
 * Runs any server, here redis: it needs a command, a port, and a folder for the lock, the PID file and the log.
 * `node examples/redis.mjs [PORT]`
 */
// @ts-check
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessManager } from 'flock-process';

const port = Number(process.argv[2] ?? 6399);
const stateDir = mkdtempSync(join(tmpdir(), 'redis-example-')); // a real tool would use a lasting folder, such as '~/.my-tool'

const redis = new ProcessManager({
  name: 'redis',
  command: 'redis-server',
  args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir],
  port,
  stateDir,
});

try {
  const { pid, address } = await redis.start();
  console.log(`redis is ready on ${address}, PID ${pid}`);

  const again = await redis.start();
  console.log(`a second start: PID ${again.pid}, reused: ${again.reused}`);

  console.log(`its state: ${(await redis.status()).state}`);
} finally {
  const { outcome } = await redis.stop();
  console.log(`redis: ${outcome}`);
  rmSync(stateDir, { recursive: true });
}
