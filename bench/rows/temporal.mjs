/** The time from the call to a client that is connected to an ephemeral Temporal, and the time to end it. */
// @ts-check
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { startEphemeral, temporalDevServer } from 'flock-process';
import { compare } from '../measure.mjs';

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureTemporal({ rounds }) {
  const command = temporalBinary();
  /** @type {Record<string, number[]>} */
  const stops = { 'stop()': [], 'teardown()': [] };
  /** @param {string} name @param {number} round @param {() => Promise<unknown>} stop */
  const stopTimed = async (name, round, stop) => {
    const began = performance.now();
    await stop();
    if (round > 0) stops[name]?.push(performance.now() - began);
  };
  const contestants = [
    {
      name: 'startEphemeral',
      once: async (/** @type {number} */ round) => {
        const began = performance.now();
        const server = await startEphemeral(temporalDevServer, { command });
        const connection = await Connection.connect({ address: server.address });
        const ms = performance.now() - began;
        await stopTimed('stop()', round, async () => {
          await connection.close();
          await server.stop();
        });
        return ms;
      },
    },
    {
      name: 'createLocal',
      once: async (/** @type {number} */ round) => {
        const began = performance.now();
        const environment = await TestWorkflowEnvironment.createLocal({
          server: { executable: { type: 'existing-path', path: command }, log: { format: 'pretty', level: 'never' } },
        });
        await environment.client.connection.ensureConnected();
        const ms = performance.now() - began;
        await stopTimed('teardown()', round, () => environment.teardown());
        return ms;
      },
    },
  ];
  const samples = await compare(contestants, { rounds: Math.min(rounds, 15) });
  const row = { unit: 'ms' };
  return [
    {
      ...row,
      what: 'throw-away Temporal → connected client',
      subject: 'startEphemeral',
      reference: 'createLocal',
      samples,
      limit: { times: 1 },
    },
    {
      ...row,
      what: 'the end of a throw-away Temporal',
      subject: 'stop()',
      reference: 'teardown()',
      samples: stops,
      limit: { plus: 5 },
    },
  ];
}

function temporalBinary() {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'));
  const fetched = fileURLToPath(new URL('../../.cache/temporal/bin/temporal', import.meta.url));
  const found = [...onPath, fetched].find((path) => existsSync(path));
  if (found === undefined) throw new Error('there is no temporal: "npm run setup" fetches it');
  return found;
}
