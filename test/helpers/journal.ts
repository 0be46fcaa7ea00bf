/** Reads NAME.journal, which has one JSON line per event. */
import { appendFileSync, readFileSync } from 'node:fs';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';

export interface JournalEntry {
  at: string;
  event: string;
  by: number;
  [field: string]: unknown;
}

export function journalFile(spec: ProcessSpec): string {
  return `${new ProcessManager(spec).spec.lockFile.replace(/\.lock$/, '')}.journal`;
}

/**
 * The lines of the journal, oldest first, limited to the given events if there are any. Empty when there is no journal.
 * A line counts only once its end is written: a reader can see the first part of a line that another process is
 * writing, or was writing when it was suspended.
 */
export function journalEntries(spec: ProcessSpec, ...events: string[]): JournalEntry[] {
  return textOf(journalFile(spec))
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => (line === '' ? [] : (JSON.parse(line) as JournalEntry)))
    .filter(({ event }) => (events.length === 0 ? event !== undefined : events.includes(event)));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return '';
  }
}

/** Appends a line that another process could have written. */
export function appendToJournal(spec: ProcessSpec, event: string, fields: Record<string, unknown> = {}): void {
  const entry = { at: new Date().toISOString(), event, by: process.pid, ...fields };
  appendFileSync(journalFile(spec), `\n${JSON.stringify(entry)}\n`, { mode: 0o600 });
}
