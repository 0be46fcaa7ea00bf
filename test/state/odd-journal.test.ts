/** Journals of other owners, and journals that cannot be used normally. */
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, chownSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Journal } from '../../src/state/journal.js';
import { unlessRoot } from '../helpers/one-call.js';
import { temporaryFolder } from '../helpers/resources.js';

const MIB = 1024 * 1024;

test('trimming does not make a journal trusted that others may write', (t) => {
  const journal = newJournal(t);
  fill(journal, MIB);
  chmodSync(journal.path, 0o666);
  begin(journal);
  const { size, mode } = statSync(journal.path);
  assert.ok(size < 64 * 1024);
  assert.equal(mode & 0o777, 0o666);
  assert.equal(journal.read().isTrusted, false);
});

test('trimming does not make the journal of another user ours', { skip: unlessRoot }, (t) => {
  const journal = newJournal(t);
  fill(journal, MIB);
  chownSync(journal.path, 65_534, 65_534);
  begin(journal);
  const { size, uid, gid } = statSync(journal.path);
  assert.ok(size < 64 * 1024);
  assert.deepEqual([uid, gid], [65_534, 65_534]);
  assert.equal(journal.read().isTrusted, false);
});

test('a journal that cannot be trimmed grows, and a start goes on', (t) => {
  const journal = newJournal(t);
  fill(journal, MIB);
  // The obstacle can be anything: a folder that we may not write to, a full disk.
  mkdirSync(`${journal.path}.new`);
  begin(journal);
  assert.ok(statSync(journal.path).size > MIB);
  journal.append('stop');
  begin(journal);
  assert.equal(journal.read().isWanted, true);
});

test('an exit line of an earlier process with the same PID does not count for the process spawned after it', (t) => {
  // In two containers that share a folder, the exit of one's process can be reported after the other has spawned its own.
  const journal = newJournal(t);
  journal.append('spawn', { pid: 20, startKey: '200', boot: 'b' });
  journal.append('exit', { pid: 20, startKey: '100', exitCode: 0, signal: null });
  assert.equal(journal.read().hasExited, false);
  journal.append('exit', { pid: 20, startKey: '200', exitCode: 0, signal: null });
  assert.equal(journal.read().hasExited, true);
});

test('after any number of supervise lines, readers still see the last start and stop', (t) => {
  const journal = newJournal(t);
  // This is the state after trimming: a stop in the first line, and behind it the start that undid it.
  fill(journal, MIB);
  journal.append('stop');
  begin(journal);
  for (let time = 0; time < 3_000; time += 1) {
    journal.note('supervise', { filler: 'x'.repeat(100) });
    journal.note('unsupervise');
  }
  const { isWanted, isPending } = new Journal(journal.path).read();
  assert.deepEqual([isWanted, isPending], [true, false]);
});

const heads: Record<string, string> = {
  'an id longer than a line may be': `{"id":"${'x'.repeat(9_000)}","base":0,"kept":[]}`,
  'a base beyond all counting': '{"id":"a","base":1e308,"kept":[]}',
  'a negative base': '{"id":"a","base":-1e9,"kept":[]}',
  'a kept stop at a place to come': `{"id":"a","base":0,"kept":[{"at":"x","event":"stop","by":1,"place":${2 ** 52}}]}`,
  'a copied stop at a place to come': `{"id":"a","base":0,"kept":[]}\n{"at":"x","event":"stop","by":1,"place":${2 ** 52}}`,
  'a start that undoes what is to come':
    '{"id":"a","base":0,"kept":[]}\n{"at":"x","event":"start","by":1,"undoes":{"id":"a","offset":1e999}}',
};

for (const [what, text] of Object.entries(heads)) {
  test(`${what} keeps neither a stop from being final nor a start from undoing it`, (t) => {
    const journal = newJournal(t);
    writeFileSync(journal.path, `${text}\n`, { mode: 0o600 });
    for (let round = 0; round < 2; round += 1) {
      const place = journal.read().endPlace;
      journal.append('stop');
      const { isWanted, isPending } = journal.read();
      assert.deepEqual([isWanted, isPending, journal.read().isStoppedSince(place)], [false, true, true]);
      assert.equal(journal.read().isStoppedSince(journal.read().endPlace), false);
      begin(journal);
      assert.deepEqual([journal.read().isWanted, journal.read().isPending], [true, false]);
    }
  });
}

test('a journal that was deleted and recreated is read from its begin, even with the same size and inode', async (t) => {
  const journal = newJournal(t);
  for (let round = 0; round < 20; round += 1) {
    const { id } = journal.read().endPlace;
    rmSync(journal.path);
    await delay(10);
    new Journal(journal.path).create();
    assert.notEqual(journal.read().endPlace.id, id);
  }
});

function newJournal(t: TestContext): Journal {
  const journal = new Journal(join(temporaryFolder(t), 'some.journal'));
  journal.create();
  return journal;
}

function begin(journal: Journal): void {
  const begun = journal.exclusively((state) => {
    journal.begin(state, {});
    return 'begun';
  });
  assert.equal(begun, 'begun');
}

function fill(journal: Journal, bytes: number): void {
  const line = `\n${JSON.stringify({ at: new Date().toISOString(), event: 'crash', by: 1, delayMs: 0 })}\n`;
  appendFileSync(journal.path, line.repeat(Math.ceil(bytes / line.length) + 1));
}
