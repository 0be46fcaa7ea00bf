/**
 * `npm run api`: compares the public surface, taken from the declarations in dist/, with the one that is pinned in etc/. Prints any
 * difference and fails. `npm run api -- --update` pins the present surface.
 */
// @ts-check
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { extractApi } from './api-extractor.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const isUpdate = process.argv.includes('--update');

const work = mkdtempSync(join(tmpdir(), 'flock-process-api-'));
try {
  const apiReport = {
    enabled: true,
    reportFolder: join(root, 'etc'),
    reportTempFolder: work,
    // A type that is part of the surface without being exported counts too: a change of it is a change for the dependent.
    includeForgottenExports: true,
  };
  const outputs = { apiReport, dtsRollup: { enabled: false } };
  const options = { localBuild: isUpdate, printApiReportDiff: !isUpdate };
  const { succeeded, apiReportChanged } = extractApi(join(root, 'dist/index.d.ts'), outputs, options);
  if (apiReportChanged && isUpdate) console.log('✔ the surface is pinned as it is now, in etc/flock-process.api.md');
  else if (apiReportChanged) console.error('✖ the public surface is another one; "npm run api -- --update" pins it');
  else if (succeeded) console.log('✔ the public surface is the one in etc/flock-process.api.md');
  process.exitCode = succeeded ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
