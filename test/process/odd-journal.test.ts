/** Journals that are locked, written or named by others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { journalFile } from '../helpers/journal.js';
import { startProgram } from '../helpers/programs.js';
import { sleepSpec } from '../helpers/servers.js';

test('a start gives up in time while another program keeps the journal locked, and lets other work go on', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 500 });
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  // What the stop() left pending is undone: nobody is to be waited for.
  await manager.start();
  process.kill((await manager.status()).pid as number, 'SIGKILL');
  const keepLocked = 'open my $f, "<", $ARGV[0]; flock $f, 1; $| = 1; print "locked\n"; sleep 300';
  const program = startProgram(t, 'perl', ['-e', keepLocked, journalFile(spec)]);
  await program.printed(/locked/);
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 10);
  t.after(() => clearInterval(timer));
  await assert.rejects(manager.start(), { code: 'ERR_STATE_FILE', path: journalFile(spec) });
  assert.ok(turns > 10, `${turns} turns`);
  program.kill();
  await program.ended();
  assert.equal((await manager.start()).reused, false);
});
