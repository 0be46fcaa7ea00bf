/** jest imports this file as an ES module, in the process that starts the workers. */
// @ts-check
import { startEphemeral, temporalDevServer } from 'flock-process';

export default async function setUp() {
  const temporal = await startEphemeral(temporalDevServer);
  // The workers are started later and inherit the variable.
  process.env.TEMPORAL_ADDRESS = temporal.address;
  Object.assign(globalThis, { temporal });
}
