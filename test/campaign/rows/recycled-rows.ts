/** PIDs of dead servers that another process has been given, which a PID namespace makes possible on demand. */
import assert from 'node:assert/strict';
import type { Report } from '../../fixtures/recycled-pid.js';
import type { Report as ChangeOfHands } from '../../fixtures/reused-pid.js';
import { unlessCapable } from '../../helpers/one-call.js';
import { fixture, plainFixture } from '../../helpers/paths.js';
import { startProgram } from '../../helpers/programs.js';
import { temporaryFolder } from '../../helpers/resources.js';
import { sleepSpec } from '../../helpers/servers.js';
import type { Attack, Row } from '../attack.js';

const isPermitted = unlessCapable('sys_admin') === false;

/** What each call gives when no managed process runs. */
const EXPECTED: Readonly<Record<string, string>> = {
  status: 'stopped',
  start: 'spawned',
  stop: 'not-running',
  restart: 'spawned',
};

const deadServer: Row = {
  name: 'a stranger that has the reused PID of a dead server is never signalled, nor taken for the server',
  laws: [4],
  attempts: 30,
  async attack(attack) {
    const { attempts, folder, random } = attack;
    const withinMs = 30_000 + 3_000 * attempts;
    const text = await outputOf(attack, 'recycled-pid', [folder, attempts, random.fork()], withinMs);
    const lines = text.trim().split('\n');
    attack.count(lines.length);
    assert.equal(lines.length, attempts);
    for (const line of lines) {
      const { isRecycled, isUnharmed, isServerLeft, method, word } = JSON.parse(line) as Report;
      const isGood = isUnharmed && !isServerLeft && word === EXPECTED[method];
      if (!isGood || isRecycled !== isPermitted) attack.violation(line);
    }
    attack.remark(isPermitted ? 'numbers recycled' : 'recorded number changed instead: no PID namespace is permitted');
  },
};

const dyingServer: Row = {
  name: 'a PID that is reused during a stop is not signalled again',
  laws: [4],
  attempts: 8,
  attack: (attack) =>
    attack.rounds(async (round) => {
      const folder = temporaryFolder(round);
      const args = [plainFixture('asked-to-end.py'), folder];
      // The stop() must be suspended before it sends its second signal.
      const stopTimeoutMs = Math.round(attack.random.between(2_000, 3_000));
      const spec = sleepSpec(round, { command: 'python3', args, stopTimeoutMs });
      const text = await outputOf(round, 'reused-pid', [JSON.stringify(spec), folder]);
      const { server, stranger, strangerState, outcome } = JSON.parse(text) as ChangeOfHands;
      assert.equal(stranger, server);
      assert.match(String(strangerState), /^[SRD]$/);
      assert.equal(JSON.parse(outcome).result.outcome, 'stopped');
    }),
};

/**
 * The second row needs the PID to be reused while a stop is about to signal it. Only in a PID namespace can that be
 * arranged in time.
 */
export const recycledRows: readonly Row[] = isPermitted ? [deadServer, dyingServer] : [deadServer];

async function outputOf(
  registry: Pick<Attack, 'after'>,
  name: string,
  words: readonly (string | number)[],
  withinMs = 30_000,
): Promise<string> {
  const wrapper = isPermitted ? ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'] : [];
  const [program = '', ...args] = [...wrapper, process.execPath, fixture(name), ...words].map(String);
  const { stdout, stderr } = await startProgram(registry, program, args).ended({ withinMs });
  assert.notEqual(stdout, '', stderr);
  return stdout;
}
