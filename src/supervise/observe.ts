/** One look at what is wanted and what is: the mark, and the lock. Some 20 µs, unless somebody's restart is at work. */
import { isLocked } from '../lock/file-lock.js';
import { isKnownMark, isStopAtWork } from '../state/down-mark.js';
import { type Mark, readMark } from '../state/mark-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import type { Sight } from './policy.js';

/** A restart with nobody at it may be about to win the lock; one that died leaves its mark for longer. */
const DEAD_RESTART_MS = 200;

const log = debugLog('supervisor');

export class Lookout {
  readonly #spec: CompleteSpec;
  readonly #markFile: string;
  readonly #undone: Mark | undefined;
  /** Since when nobody has been seen at the restart whose mark is there. */
  #deserted: { generation: string; since: number } | undefined;

  /** @param undone the mark of a stop that counts no more, although nobody has won the lock to clear it yet */
  constructor(spec: CompleteSpec, markFile: string, undone: Mark | undefined) {
    this.#spec = spec;
    this.#markFile = markFile;
    this.#undone = undone;
  }

  async look(): Promise<Exclude<Sight, 'sick'>> {
    try {
      const mark = readMark(this.#markFile);
      if (mark !== undefined && !isKnownMark(mark, this.#undone)) return 'stopped';
      const isRestart = mark?.isRestart === true;
      if (!isRestart) this.#deserted = undefined;
      else if (!(await this.#isDead(mark.generation))) return 'unsettled';
      const isHeld = isLocked(this.#spec.lockFile);
      if (isHeld && mark === undefined) return 'held';
      // A stop that came between the two looks is the reason why the lock is free.
      if (readMark(this.#markFile)?.generation !== mark?.generation) return 'unsettled';
      if (!isRestart) return isHeld ? 'held' : 'free';
      return isHeld ? 'half stopped' : 'half restarted';
    } catch (error) {
      log('%s cannot be looked at: %s', this.#spec.name, errorText(error));
      return 'unseen';
    }
  }

  async #isDead(generation: string): Promise<boolean> {
    if (await isStopAtWork(this.#markFile)) {
      this.#deserted = undefined;
      return false;
    }
    const now = performance.now();
    if (this.#deserted?.generation !== generation) this.#deserted = { generation, since: now };
    return now - this.#deserted.since >= DEAD_RESTART_MS;
  }
}

/** Undefined also when it cannot be read: the first start says so. */
export function readableMark(markFile: string): Mark | undefined {
  try {
    return readMark(markFile);
  } catch (error) {
    log('%s cannot be read: %s', markFile, errorText(error));
    return undefined;
  }
}
