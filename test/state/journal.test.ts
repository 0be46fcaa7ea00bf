import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import { Journal } from '../../src/state/journal.js';
import { StoppedError } from '../../src/support/errors.js';
import { startFixture } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

const MIB = 1024 * 1024;

test('without a journal no process is wanted, and reading creates none', (t) => {
  const journal = newJournal(t, { isMade: false });
  const { isWanted, isPending, spawned, endPlace } = journal.read();
  assert.deepEqual([isWanted, isPending, spawned, endPlace.offset], [true, false, undefined, 0]);
  assert.throws(() => statSync(journal.path), { code: 'ENOENT' });
});

test('after a stop the process is not wanted and the stop is pending, until a start that has read it', (t) => {
  const journal = newJournal(t);
  journal.append('stop');
  assert.deepEqual(wishes(journal), { isWanted: false, isPending: true });
  begin(journal);
  assert.deepEqual(wishes(journal), { isWanted: true, isPending: false });
});

test('the line of a start does not undo a stop that came after the start had read', (t) => {
  const journal = newJournal(t);
  const undoes = journal.read().endPlace;
  journal.append('stop');
  journal.append('start', { undoes });
  assert.deepEqual(wishes(journal), { isWanted: false, isPending: true });
});

test('a restart after a stop makes the process wanted again, and a stop after a restart does not', (t) => {
  const journal = newJournal(t);
  journal.append('stop');
  journal.append('restart');
  assert.deepEqual(wishes(journal), { isWanted: true, isPending: true });
  journal.append('stop');
  assert.deepEqual(wishes(journal), { isWanted: false, isPending: true });
});

test('an abandon is pending and changes nothing in what is wanted', (t) => {
  const journal = newJournal(t);
  journal.append('abandon');
  assert.deepEqual(wishes(journal), { isWanted: true, isPending: true });
  begin(journal);
  journal.append('stop');
  journal.append('abandon');
  assert.equal(journal.read().isWanted, false);
});

test('a place in a journal that was deleted since counts as the begin of the new journal', (t) => {
  const journal = newJournal(t);
  const place = journal.read().endPlace;
  rmSync(journal.path);
  journal.create();
  assert.equal(journal.read().isStoppedSince(place), false);
  journal.append('stop');
  assert.equal(journal.read().isStoppedSince(place), true);
  assert.equal(journal.read().isStoppedSince(journal.read().endPlace), false);
});

const noise: Record<string, string> = {
  'a torn line': '{"at":"2026-01-01T00:00:00.000Z","event":"stop","by":',
  'an empty line': '\n\n\n',
  'a foreign line': 'hello {"event":"stop"}\n',
  'JSON that is no event': '{"event":"stop"}\n[1]\nnull\n"stop"\n',
  'a line of over 8 KiB': `${JSON.stringify({ at: 'x', event: 'stop', by: 1, filler: 'x'.repeat(8 * 1024) })}\n`,
  'bytes that are no text': '\u0000\u0001\u007f',
};

for (const [what, text] of Object.entries(noise)) {
  test(`${what} is skipped, and no other line is lost`, (t) => {
    const journal = newJournal(t);
    appendFileSync(journal.path, text);
    journal.append('exit', { pid: 17 });
    appendFileSync(journal.path, text);
    assert.deepEqual(
      journal.lines().map(({ event }) => event),
      ['exit'],
    );
    journal.append('stop');
    assert.equal(journal.read().isWanted, false);
  });
}

test('two readers give a line the same place, even when lines were written in between', (t) => {
  const one = newJournal(t);
  const other = new Journal(one.path);
  one.append('stop');
  other.append('exit', { pid: 2, text: 'ö and 💥 are of more than one byte' });
  one.append('stop');
  assert.deepEqual(one.lines(), new Journal(one.path).lines());
  assert.equal(one.read().endPlace.offset, statSync(one.path).size);
});

test('a reader that continues sees the same as a new reader, even a line that was completed later', (t) => {
  const journal = newJournal(t);
  const same = () => assert.equal(factsOf(journal), factsOf(new Journal(journal.path)));
  journal.append('exit', { pid: 1 });
  same();
  const line = JSON.stringify({ at: 'x', event: 'stop', by: 1 });
  appendFileSync(journal.path, `\n${line.slice(0, 9)}`);
  same();
  assert.equal(journal.read().isWanted, true);
  appendFileSync(journal.path, `${line.slice(9)}\n`);
  same();
  assert.equal(journal.read().isWanted, false);
  begin(journal);
  same();
  assert.equal(journal.read().isWanted, true);
});

test('the last line of each event is found among lines of any form: other orders of fields, torn, foreign, empty', (t) => {
  const events = ['start', 'stop', 'spawn', 'ready', 'exit', 'supervise'] as const;
  const forms = [
    (event: string, at: string) => JSON.stringify({ at, event, by: 1 }),
    (event: string, at: string) => JSON.stringify({ event, by: 1, at }),
    (event: string, at: string) => JSON.stringify({ at, event, by: 1 }, undefined, 1).replaceAll('\n', ' '),
    (event: string, at: string) => JSON.stringify({ at: `${at} of another clock`, event, by: 1 }),
    (event: string, at: string) => JSON.stringify({ at, event, by: 1 }).slice(0, -2),
    (event: string, at: string) => JSON.stringify({ at, event, by: 'a word' }),
    (event: string, at: string) => JSON.stringify({ at, event, by: 1, long: 'x'.repeat(9_000) }),
    (event: string, at: string) => JSON.stringify({ at, by: 1, inner: { at, event } }),
    () => '',
  ];
  const at = new Date().toISOString();
  for (let round = 0; round < 200; round += 1) {
    const journal = newJournal(t);
    const pick = <T>(from: readonly T[], step: number): T =>
      from[(round * 31 + step * step * 7 + step) % from.length] as T;
    const lines = Array.from({ length: 12 }, (_, step) => pick(forms, step)(pick(events, step * 3), at));
    appendFileSync(journal.path, `\n${lines.join('\n')}\n`);
    const all = journal.lines();
    for (const event of events) {
      assert.deepEqual(
        journal.read().last(event),
        all.findLast((line) => line.event === event),
        `${event} of ${lines}`,
      );
    }
  }
});

test('a stop whose line was incomplete when a start read it is not undone, and ends that start', (t) => {
  const journal = newJournal(t);
  const line = `\n${JSON.stringify({ at: 'x', event: 'stop', by: 1 })}\n`;
  for (let part = 1; part < line.length; part += 1) {
    begin(journal);
    appendFileSync(journal.path, line.slice(0, part));
    const { endPlace } = journal.read();
    journal.exclusively((state) => {
      // The next writer waits for a write that is under way.
      appendFileSync(journal.path, line.slice(part));
      journal.begin(state, {});
    });
    assert.deepEqual(wishes(journal), { isWanted: false, isPending: true }, `${part} bytes`);
    assert.equal(journal.read().isStoppedSince(endPlace), true, `${part} bytes`);
  }
});

test('a line that a reader has not seen never lies before the place up to which that reader has read', async (t) => {
  const journal = newJournal(t);
  const writer = startFixture(t, 'journal-user', [journal.path, '2000']);
  let end = journal.read().endPlace.offset;
  let known = -1;
  const ended = writer.ended().then(() => true);
  while (!(await Promise.race([ended, immediate(false)]))) {
    const { last, endPlace } = journal.read();
    const place = last('crash')?.place ?? known;
    if (place !== known) assert.ok(place >= end, `a line at ${place} after an end of ${end}`);
    known = place;
    end = endPlace.offset;
  }
  assert.ok(known > 0);
});

test('a journal is trusted only if no other user may write to it', (t) => {
  const journal = newJournal(t);
  assert.equal(journal.read().isTrusted, true);
  chmodSync(journal.path, 0o620);
  journal.append('stop');
  assert.equal(journal.read().isTrusted, false);
});

test('a start trims a journal over 1 MiB: places stay, what counts is kept, and later lines lie beyond', async (t) => {
  const journal = newJournal(t);
  fill(journal, MIB);
  journal.append('spawn', { pid: 17, startKey: '4711', boot: 'b' });
  journal.append('ready', { pid: 17 });
  journal.append('stop');
  fill(journal, MIB / 10);
  journal.append('exit', { pid: 4 });
  const before = journal.read();
  const remembered = before.endPlace;
  begin(journal);
  assert.ok(statSync(journal.path).size < 64 * 1024);
  const reader = new Journal(journal.path);
  const after = reader.read();
  assert.equal(after.endPlace.id, before.endPlace.id);
  assert.deepEqual([after.spawned?.pid, after.isReady, after.isWanted], [17, true, true]);
  assert.equal(after.last('stop')?.place, before.last('stop')?.place);
  assert.equal(after.last('exit')?.place, before.last('exit')?.place);
  assert.ok((after.last('start')?.place ?? 0) > remembered.offset);
  assert.equal(factsOf(reader), factsOf(journal), 'who trimmed it sees what others see');
  reader.append('stop');
  assert.equal(reader.read().isStoppedSince(remembered), true);
  assert.equal(reader.read().isStoppedSince(reader.read().endPlace), false);
});

test('a journal that is trimmed again and again keeps what counts, and its places only grow', (t) => {
  const journal = newJournal(t);
  let last = 0;
  for (let round = 0; round < 3; round += 1) {
    fill(journal, MIB);
    if (round === 0) journal.append('spawn', { pid: 17, startKey: '4711', boot: 'b' });
    begin(journal);
    const { endPlace, spawned } = new Journal(journal.path).read();
    assert.ok(endPlace.offset > last + MIB);
    assert.equal(spawned?.pid, 17);
    last = endPlace.offset;
  }
});

test('a stop whose line went into a replaced file writes it again, and the line counts from there', async (t) => {
  const journal = newJournal(t);
  const trimmed = join(journal.path, '..', 'trimmed');
  const text = readFileSync(journal.path, 'utf8');
  const { settling, earlier } = underTrim(journal, () => {
    const calls = { settling: journal.workOn('stop'), earlier: journal.earlierLines() };
    writeFileSync(trimmed, text, { mode: 0o600 });
    renameSync(trimmed, journal.path);
    return calls;
  });
  const work = await settling;
  assert.equal(work.isRewritten, true);
  assert.equal(journal.read().isStoppedSince(work.place), true);
  assert.deepEqual(await earlier, [work.place]);
  assert.deepEqual(await journal.earlierLines(), []);
  work.release();
});

test('a stop finds its own line at its place, and a start that had read the line has undone it', async (t) => {
  const journal = newJournal(t);
  const { settling } = underTrim(journal, () => {
    const calls = { settling: journal.workOn('stop') };
    journal.begin(journal.read(), {});
    return calls;
  });
  const work = await settling;
  assert.equal(work.isRewritten, false);
  assert.equal(journal.read().isUndone(work.place), true);
  work.release();
  const later = await journal.workOn('stop');
  assert.equal(journal.read().isUndone(later.place), false);
  later.release();
});

test('a start is refused while a stop is at work in this or another process, and not after that process was killed', async (t) => {
  const journal = newJournal(t);
  const work = await journal.workOn('stop');
  assert.equal(tryBegin(journal), 'in use');
  assert.equal(await journal.probeStopAtWork(), true);
  work.release();
  assert.equal(await journal.probeStopAtWork(), false);
  const other = startFixture(t, 'journal-user', [journal.path, 'stop']);
  await other.message();
  assert.equal(tryBegin(journal), 'in use');
  other.kill();
  await other.ended();
  await eventually('no stop is in progress', async () => !(await journal.probeStopAtWork()));
  assert.notEqual(tryBegin(journal), 'in use');
});

test('a start holds out against the question of another one, and not against a stop at work', async (t) => {
  const journal = newJournal(t);
  const question = journal.tryHoldExclusive();
  const begun = journal.exclusivelySoon((state) => journal.begin(state, {}));
  setImmediate(() => question?.());
  assert.notEqual(await begun, 'in use');
  const { release } = await journal.holdShared();
  assert.equal(await journal.exclusivelySoon(() => 'begun'), 'in use');
  release();
});

test('a start that decides against it under the lock does not write its line', (t) => {
  const journal = newJournal(t);
  const unwanted = new StoppedError('unwanted');
  assert.throws(() => {
    journal.exclusively(() => {
      throw unwanted;
    });
  }, unwanted);
  assert.equal(journal.read().last('start'), undefined);
  assert.notEqual(tryBegin(journal), 'in use');
});

test('a journal that is not a regular file is a StateFileError for every call that needs it', async (t) => {
  const journal = newJournal(t, { isMade: false });
  mkdirSync(journal.path);
  const refused = { name: 'StateFileError', path: journal.path };
  assert.throws(() => journal.append('stop'), refused);
  assert.throws(() => tryBegin(journal), refused);
  await assert.rejects(journal.holdShared(), refused);
  assert.throws(() => journal.read(), refused);
  assert.equal(journal.readIfReadable().spawned, undefined);
});

test('of lines that many processes write at once none is lost or torn', async (t) => {
  const journal = newJournal(t);
  const writers = Array.from({ length: 4 }, () => startFixture(t, 'journal-user', [journal.path, '200']));
  for (const writer of writers) await writer.ended();
  assert.equal(journal.lines().length, 800);
  const places = journal.lines().map((line) => line.place);
  assert.deepEqual(
    places,
    places.toSorted((one, other) => one - other),
  );
});

function newJournal(t: TestContext, { isMade = true } = {}): Journal {
  const journal = new Journal(join(temporaryFolder(t), 'some.journal'));
  if (isMade) journal.create();
  return journal;
}

function tryBegin(journal: Journal): 'begun' | 'in use' {
  return journal.exclusively((state) => {
    journal.begin(state, {});
    return 'begun';
  });
}

function begin(journal: Journal): void {
  assert.equal(tryBegin(journal), 'begun');
}

/** Runs `act` under LOCK_EX, as while a start trims: a stop() that is called meanwhile writes its line and waits for LOCK_SH. */
function underTrim<T extends object>(journal: Journal, act: () => T): T {
  const result = journal.exclusively(act);
  assert.notEqual(result, 'in use');
  return result as T;
}

/** Everything that was read of the journal, except its functions. */
function factsOf(journal: Journal): string {
  return JSON.stringify(journal.read());
}

function wishes(journal: Journal) {
  const { isWanted, isPending } = journal.read();
  return { isWanted, isPending };
}

function fill(journal: Journal, bytes: number): void {
  const line = `\n${JSON.stringify({ at: new Date().toISOString(), event: 'crash', by: 1, delayMs: 0 })}\n`;
  appendFileSync(journal.path, line.repeat(Math.ceil(bytes / line.length)));
}
