/**
 * `npm run api`: compares the public surface, as the declaration files of dist/ have it, with the one that is pinned in
 * etc/. A difference fails, and is printed. `npm run api -- --update` pins the surface as it is now.
 */
// @ts-check
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';

const root = fileURLToPath(new URL('..', import.meta.url));
const isUpdate = process.argv.includes('--update');

const work = mkdtempSync(join(tmpdir(), 'flock-process-api-'));
try {
  const { succeeded, apiReportChanged } = Extractor.invoke(configuration(), {
    localBuild: isUpdate,
    printApiReportDiff: !isUpdate,
    messageCallback: keepQuiet,
  });
  if (apiReportChanged && isUpdate) console.log('✔ the surface is pinned as it is now, in etc/flock-process.api.md');
  else if (apiReportChanged) console.error('✖ the public surface is another one; "npm run api -- --update" pins it');
  else if (succeeded) console.log('✔ the public surface is the one in etc/flock-process.api.md');
  process.exitCode = succeeded ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

function configuration() {
  return ExtractorConfig.prepare({
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: join(root, 'dist/index.d.ts'),
      // Of the types that declaration files may name; the files themselves are compiled already.
      compiler: { tsconfigFilePath: join(root, 'tsconfig.json') },
      apiReport: {
        enabled: true,
        reportFolder: join(root, 'etc'),
        reportTempFolder: work,
        // What is not exported and yet a part of what is: a change of it is a change for the dependent.
        includeForgottenExports: true,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      newlineKind: 'lf',
      messages: {
        compilerMessageReporting: { default: { logLevel: ExtractorLogLevel.Error } },
        extractorMessageReporting: {
          default: { logLevel: ExtractorLogLevel.Error },
          'ae-missing-release-tag': { logLevel: ExtractorLogLevel.None },
          'ae-forgotten-export': { logLevel: ExtractorLogLevel.None },
          'ae-undocumented': { logLevel: ExtractorLogLevel.None },
        },
        tsdocMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
      },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, 'package.json'),
  });
}

/** Its banner and its advice are for projects that run it from the command line. @param {import('@microsoft/api-extractor').ExtractorMessage} message */
function keepQuiet(message) {
  const isNews = message.logLevel === ExtractorLogLevel.Error || message.messageId === 'console-api-report-diff';
  if (!isNews) message.logLevel = ExtractorLogLevel.None;
}
