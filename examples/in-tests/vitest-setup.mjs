/** Runs once, before the workers of vitest are started; what it returns runs at the end. */
// @ts-check
import { startEphemeral, temporalDevServer } from 'flock-process';

/** @param {import('vitest/node').TestProject} project */
export default async function setUp(project) {
  const temporal = await startEphemeral(temporalDevServer);
  project.provide('temporalAddress', temporal.address);
  return () => temporal.stop();
}
