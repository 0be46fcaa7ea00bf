/** Daemons that become the managed process themselves: fixtures/both-modes.ts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { fixture } from './paths.js';
import { type Program, startProgram } from './programs.js';
import { freePort, temporaryFolder } from './resources.js';

type Test = Parameters<typeof temporaryFolder>[0];

export interface BothModes {
  /** The daemon's own spec, with which it starts, stops and asks for itself. */
  readonly spec: ProcessSpec & { port: number };
  /** Runs the daemon by hand, as the leader of a session and a process group of its own. */
  run(...words: string[]): Program;
  /** Whether a daemon ever found another one running. */
  wereTwo(): boolean;
}

export function bothModesSpec(stateDir: string, port: number, words: readonly string[]) {
  const args = [fixture('both-modes'), stateDir, String(port), ...words];
  return { name: 'both-modes', command: process.execPath, args, port, stateDir, stopTimeoutMs: 5_000 };
}

/** @param words the command line arguments of the daemons that start() spawns */
export async function bothModes(test: Test, words: readonly string[] = []): Promise<BothModes> {
  const port = await freePort();
  let spec: BothModes['spec'] | undefined;
  // Registered before the folder's removal: `after` hooks run in the order of their registration.
  test.after(async () => {
    if (spec !== undefined) await new ProcessManager({ ...spec, stopTimeoutMs: 0 }).stop();
  });
  const stateDir = join(temporaryFolder(test), 'state');
  spec = bothModesSpec(stateDir, port, words);
  return {
    spec,
    run: (...more) =>
      startProgram(test, process.execPath, bothModesSpec(stateDir, port, more).args, { detached: true }),
    wereTwo: () => existsSync(join(stateDir, 'double')),
  };
}
