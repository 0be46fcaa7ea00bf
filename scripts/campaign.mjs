/**
 * `npm run campaign`: runs all rows, or those that the arguments choose (test/campaign/campaign.ts); a process that is left behind counts
 * as a violation.
 */
// @ts-check
import { fileURLToPath } from 'node:url';
import { runNodeInTestRun } from './test-run.mjs';

const program = fileURLToPath(new URL('../build/test/campaign/campaign.js', import.meta.url));

process.exitCode = await runNodeInTestRun([program, ...process.argv.slice(2)]);
