/** `npm run campaign`: the whole of it, or what the arguments choose (test/campaign/campaign.ts); a process that is left counts as a violation. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beginTestRun, endTestRun } from './test-run.mjs';

const program = fileURLToPath(new URL('../build/test/campaign/campaign.js', import.meta.url));

const run = beginTestRun();
const campaign = spawn(process.execPath, [program, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: run.environment,
});
// Ctrl-C reaches the campaign by itself. Here it must not cut short the look for leftovers.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => campaign.kill('SIGTERM'));
const [exitCode] = await once(campaign, 'exit');
const leftovers = await endTestRun(run);
process.exitCode = leftovers > 0 ? 1 : (exitCode ?? 1);
