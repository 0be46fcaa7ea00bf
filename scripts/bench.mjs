/** `npm run bench`: bench/bench.mjs with the arguments, in a folder of its own; processes that it leaves are ended and named. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beginTestRun, endTestRun } from './test-run.mjs';

const program = fileURLToPath(new URL('../bench/bench.mjs', import.meta.url));

const run = beginTestRun();
const bench = spawn(process.execPath, [program, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: run.environment,
});
// Ctrl-C reaches the bench by itself. Here it must not cut short the look for leftovers.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => bench.kill('SIGTERM'));
const [exitCode] = await once(bench, 'exit');
const leftovers = await endTestRun(run);
process.exitCode = leftovers > 0 ? 1 : (exitCode ?? 1);
