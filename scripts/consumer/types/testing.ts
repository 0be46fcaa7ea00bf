import {
  type EphemeralInstance,
  type Preset,
  type ProcessSpec,
  type SharedInstance,
  startEphemeral,
  startShared,
  type TemporalDevServerOptions,
  temporalDevServer,
} from 'flock-process';

const options: TemporalDevServerOptions = {
  namespaces: ['orders'],
  searchAttributes: { Customer: 'Keyword' },
  dynamicConfig: { 'frontend.enableServerVersionCheck': false },
  uiPort: false,
  logLevel: 'warn',
};
const spec: ProcessSpec = temporalDevServer({ ...temporalDevServer.forTests, ...options });

interface ServerOptions {
  stateDir?: string;
  port?: number;
  colour: 'red' | 'blue';
}

/** A preset of the dependent, with a required option. */
const server: Preset<ServerOptions> = ({ stateDir = '~/.server', port = 7_000, colour }) => ({
  ...spec,
  name: colour,
  stateDir,
  port,
});

export async function useBoth(signal: AbortSignal): Promise<string> {
  await using temporal: EphemeralInstance = await startEphemeral(temporalDevServer, { ...options, signal });
  await using shared: SharedInstance = await startShared(temporalDevServer, { key: 'types', ...options });
  const own = await startEphemeral(server, { colour: 'red' });
  await own.stop();
  await shared.leave();
  const port: number = temporal.port + shared.port;
  return temporal.address + temporal.stateDir + shared.manager.spec.name + port.toFixed();
}

// @ts-expect-error a shared instance needs a key
startShared(temporalDevServer, {});
// @ts-expect-error the preset's own option has two values
startEphemeral(server, { colour: 'green' });
// @ts-expect-error Temporal has no such option
startEphemeral(temporalDevServer, { namespace: 'orders' });
