/** vitest's globalSetup: the runner is a user as well, so that the server lasts when files run one after another. */
// @ts-check
import { joinTemporal } from '../temporal.mjs';

export default async function setup() {
  const temporal = await joinTemporal();
  return () => temporal.leave();
}
