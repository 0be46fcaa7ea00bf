/** Runs API Extractor: the build rolls up the declarations with it, other scripts report on the surface. */
// @ts-check
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * @param {string} declarations the file that exports the surface
 * @param {Pick<import('@microsoft/api-extractor').IConfigFile, 'apiReport' | 'dtsRollup' | 'docModel'>} outputs
 * @param {import('@microsoft/api-extractor').IExtractorInvokeOptions} [options]
 */
export function extractApi(declarations, outputs, options) {
  const configuration = ExtractorConfig.prepare({
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: declarations,
      // Here it finds the types that declaration files may name; the files themselves are already compiled.
      compiler: { tsconfigFilePath: join(root, 'tsconfig.json') },
      docModel: { enabled: false },
      ...outputs,
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
  return Extractor.invoke(configuration, { ...options, messageCallback: keepQuiet });
}

/**
 * Hides its banner and its advice, which are for projects that run it from the command line.
 * @param {import('@microsoft/api-extractor').ExtractorMessage} message
 */
function keepQuiet(message) {
  const isNews = message.logLevel === ExtractorLogLevel.Error || message.messageId === 'console-api-report-diff';
  if (!isNews) message.logLevel = ExtractorLogLevel.None;
}
