/** A log is followed while its server is restarted and killed, and while the log is rotated, deleted and truncated. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, ProcessManager } from '../../../src/index.js';
import { killUnlessGone } from '../../helpers/evidence.js';
import { Follower, openLogs, talkerSpec } from '../../helpers/followed.js';
import { isRunning, logged } from '../../helpers/outside-view.js';
import { eventually } from '../../helpers/waiting.js';
import type { Attack, Round, Row } from '../attack.js';

const STEPS = 6;

/** Longer than a follower waits between two reads, so that it sees a truncated log before the log grows again. */
const LOOKED_MS = 250;

/** The pause between two lines of the server. A slow follower pauses longer than this at each line. */
const TALK_MS = 2;
const SLOW_MS = 8;

/** More logs are kept than any round makes. */
const KEEP = 100;

export const logRow: Row = {
  name: 'a follower gets each line of a log once and in order, through rotation, truncation, deletion and restarts',
  laws: [6, 8],
  attempts: 60,
  least: 2,
  attack: (attack) =>
    attack.rounds(async (round) => {
      const episode = new Episode(attack, round);
      const story = await episode.play();
      attack.tally(story);
    }),
};

let python: string | undefined;

class Episode {
  readonly #attack: Attack;
  readonly #manager: ProcessManager;
  readonly #follower: Follower;
  /** Whether each run has a log of its own. Only then may a run end in the middle of a line. */
  readonly #isRotated: boolean;
  /** The inodes of all log files, oldest first. A renamed file keeps its inode. */
  #inodes: number[] = [];
  /** The lines of files that were truncated since. */
  #truncated: string[] = [];

  constructor(attack: Attack, round: Round) {
    const { random } = attack;
    // `python3` on PATH may be a version manager's script, which takes five times as long as the interpreter.
    python ??= execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
    this.#attack = attack;
    this.#isRotated = random.next() < 0.7;
    const logRotation = { overBytes: this.#isRotated ? 0 : 2_000, keep: KEEP };
    const words = [TALK_MS, ...(this.#isRotated ? ['unended'] : [])];
    this.#manager = new ProcessManager(talkerSpec(round, words, { command: python, logRotation }));
    const mostMs = random.next() < 0.5 ? SLOW_MS : 0;
    this.#follower = new Follower(round, this.#manager, { pauseMs: () => random.between(0, mostMs) });
  }

  /** @returns the events of the round */
  async play(): Promise<string[]> {
    const story: string[] = [];
    await this.#hasBegun(await this.#manager.start());
    for (let step = 0; step < STEPS; step += 1) {
      const killing = this.#isRotated ? 3 : 0;
      const what = this.#attack.random.weighted({ restart: 3, kill: killing, delete: 1, truncate: 1 });
      story.push(what);
      await this.#hasBegun(await this.#take(what));
    }
    await this.#manager.stop();
    await this.#assertHeard();
    await this.#follower.end();
    assert.deepEqual(openLogs(this.#logFile), []);
    return story;
  }

  get #logFile(): string {
    return this.#manager.spec.logFile;
  }

  async #take(what: 'restart' | 'kill' | 'delete' | 'truncate'): Promise<Instance> {
    const manager = this.#manager;
    if (what === 'kill') {
      const { pid } = await manager.status();
      assert.ok(pid !== undefined);
      killUnlessGone(pid);
      // A killed server that is still exiting can be handed out by a start.
      await eventually('the server has ended', () => !isRunning(pid));
      return await manager.start();
    }
    if (what === 'truncate') {
      await manager.stop();
      await this.#assertHeard();
      this.#truncated.push(...this.#written());
      this.#inodes = [];
      truncateSync(this.#logFile);
      await delay(LOOKED_MS);
      return await manager.start();
    }
    if (what === 'delete') {
      // The file is deleted only after the follower has opened it: a file that it never opened would be lost with its
      // name.
      const { pid } = await manager.status();
      await eventually('the follower has a line of the server', () =>
        this.#follower.lines.some((line) => line.startsWith(`${pid} `)),
      );
      linkSync(this.#logFile, `${this.#logFile}-deleted-${this.#inodes.length}-${this.#truncated.length}`);
      rmSync(this.#logFile);
    }
    return await manager.restart();
  }

  async #hasBegun({ pid }: Instance): Promise<void> {
    await logged(this.#logFile, new RegExp(`^${pid} .*\n`, 'm'));
    const { ino } = statSync(this.#logFile);
    if (this.#inodes.at(-1) !== ino) this.#inodes.push(ino);
    await delay(this.#attack.random.between(0, 60));
  }

  /** Every line that was written since the last truncation. */
  #written(): string[] {
    const folder = dirname(this.#logFile);
    const paths = readdirSync(folder).map((name) => join(folder, name));
    const texts = new Map(paths.map((path) => [statSync(path).ino, readFileSync(path, 'utf8')]));
    assert.ok(existsSync(this.#logFile) && this.#inodes.every((ino) => texts.has(ino)), 'each file is still there');
    return this.#inodes.flatMap((ino) => texts.get(ino)?.split('\n') ?? []).filter((line) => line !== '');
  }

  /** Compares the lines that were followed with those that were written. No server may be writing meanwhile. */
  async #assertHeard(): Promise<void> {
    const written = [...this.#truncated, ...this.#written()];
    const { lines } = this.#follower;
    await eventually('the follower has as many lines as were written', () => lines.length >= written.length).catch(
      () => undefined,
    );
    const first = written.findIndex((line, index) => line !== lines[index]);
    const index = first < 0 ? written.length : first;
    const around = (of: readonly string[]) => of.slice(Math.max(0, index - 2), index + 3);
    assert.deepEqual(around(lines), around(written), `line ${index} of ${written.length}, heard ${lines.length}`);
    assert.equal(lines.length, written.length);
  }
}
