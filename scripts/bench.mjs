/** `npm run bench`: runs bench/bench.mjs with the arguments, in a folder of its own; ends and names the processes that it leaves. */
// @ts-check
import { fileURLToPath } from 'node:url';
import { runNodeInTestRun } from './test-run.mjs';

const program = fileURLToPath(new URL('../bench/bench.mjs', import.meta.url));

process.exitCode = await runNodeInTestRun([program, ...process.argv.slice(2)]);
