/** A managed server that misbehaves (fixtures/server.py), and what can be found out about it without the library. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { killUnlessGone, startTicks } from '../helpers/evidence.js';
import { processesIn } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { freePort } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { processesNaming } from '../helpers/tied.js';
import { accepts } from '../helpers/witness.js';
import type { Round } from './attack.js';

let python: string | undefined;

export class OddServer {
  readonly manager: ProcessManager;
  readonly port: number;

  constructor(spec: ProcessSpec, port: number) {
    this.manager = new ProcessManager(spec);
    this.port = port;
  }

  /** PIDs of all members of the family that there ever were, oldest first. */
  readonly members = (): number[] => {
    const path = `${dirname(this.manager.spec.stateDir)}/family`;
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
    return lines.map((line) => Number.parseInt(line, 10));
  };

  readonly living = (): number[] => this.members().filter((pid) => startTicks(pid) !== undefined);

  /** Whether the lock is free, according to flock(1). */
  readonly isLockFree = (): boolean => {
    const { status, error } = spawnSync('flock', ['-n', '-E', '99', this.manager.spec.lockFile, 'true']);
    if (error !== undefined) throw error;
    assert.ok(status === 0 || status === 99, `flock(1) ended with ${status}`);
    return status === 0;
  };

  async assertNothingLeft(): Promise<void> {
    const { stateDir } = this.manager.spec;
    assert.ok(this.members().length > 0, 'there was a server');
    assert.deepEqual(this.living(), [], 'processes of its family');
    assert.deepEqual(processesIn(stateDir), [], 'processes in its folder');
    assert.deepEqual(processesNaming(dirname(stateDir)), [], 'processes that name its folder');
    assert.equal(this.isLockFree(), true, 'the lock is free');
    assert.equal(await accepts(this.port), false, 'the port is free');
  }
}

/** `{ port: undefined }` leaves the port out of the spec, for a server that does not listen. */
export async function oddServer(
  round: Round,
  behaviour: readonly string[],
  changes: Partial<ProcessSpec> = {},
): Promise<OddServer> {
  // `python3` on PATH may be a version manager's script, which takes five times as long as the interpreter.
  python ??= execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  const port = await freePort();
  round.after(() => {
    for (const pid of server.living()) killUnlessGone(pid);
  });
  const base = sleepSpec(round, { name: 'odd', command: python, port, startTimeoutMs: 5_000, stopTimeoutMs: 5_000 });
  const folder = dirname(base.stateDir);
  const args = ['-I', '-S', plainFixture('server.py'), String(port), `family=${folder}`, ...behaviour];
  const server = new OddServer({ ...base, args, ...changes }, port);
  return server;
}
