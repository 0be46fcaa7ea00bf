/** A log that is followed, and servers that write to it. */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessManager, ProcessSpec } from '../../src/index.js';
import { plainFixture } from './paths.js';
import { sleepSpec } from './servers.js';

type Test = Parameters<typeof sleepSpec>[0];

/** The spec of test/fixtures/talker.py. */
export function talkerSpec(
  test: Test,
  words: readonly (string | number)[] = [],
  changes: Partial<ProcessSpec> = {},
): ProcessSpec {
  const args = ['-I', '-S', plainFixture('talker.py'), ...(words.length === 0 ? [2] : words)].map(String);
  return sleepSpec(test, { name: 'talker', command: 'python3', args, ...changes });
}

export class Follower {
  readonly lines: string[] = [];
  readonly #over = new AbortController();
  readonly #ended: Promise<void>;

  /** @param pauseMs how long it pauses after each line */
  constructor(
    test: Test,
    manager: ProcessManager,
    { lines, pauseMs }: { lines?: number; pauseMs?: () => number } = {},
  ) {
    this.#ended = this.#follow(
      manager.followLog({ ...(lines !== undefined && { lines }), signal: this.#over.signal }),
      pauseMs,
    );
    test.after(() => this.end());
  }

  async #follow(lines: AsyncIterable<string>, pauseMs = () => 0): Promise<void> {
    for await (const line of lines) {
      this.lines.push(line);
      const ms = pauseMs();
      if (ms > 0) await delay(ms);
    }
  }

  /** @throws the error that ended the loop */
  async end(): Promise<void> {
    this.#over.abort();
    await this.#ended;
  }
}

/** Descriptors of this process that have a file of that name open, even if it was deleted or renamed since. */
export function openLogs(logFile: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      return link.startsWith(logFile) ? link : [];
    } catch (error) {
      // The descriptor with which readdir reads the folder is closed by now.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return [];
    }
  });
}
