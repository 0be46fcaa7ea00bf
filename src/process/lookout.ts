/** One look at what is wanted and what is: the mark, and the lock. Some 20 µs, unless somebody's restart is at work. */
import { isLocked } from '../lock/file-lock.js';
import { debugLog } from '../shared/debug.js';
import { errorText } from '../shared/errors.js';
import { isStopAtWork, readMark } from './down-mark.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';
import type { Sight } from './supervision-table.js';

/** A restart with nobody at it may be about to win the lock; one that died leaves its mark for longer. */
const DEAD_RESTART_MS = 200;

const log = debugLog('supervisor');

export class Lookout {
  readonly #spec: CompleteSpec;
  readonly #markFile: string;
  /** Since when nobody has been seen at the restart whose mark is there. */
  #deserted: { generation: string; since: number } | undefined;

  constructor(spec: CompleteSpec) {
    this.#spec = spec;
    this.#markFile = besideLockFile(spec, 'down');
  }

  async look(): Promise<Exclude<Sight, 'sick'>> {
    try {
      const mark = readMark(this.#markFile);
      if (mark === undefined) this.#deserted = undefined;
      else if (!mark.isRestart) return 'stopped';
      else if (!(await this.#isDead(mark.generation))) return 'unsettled';
      const isHeld = isLocked(this.#spec.lockFile);
      // A stop that came between the two looks is the reason why the lock is free.
      if (readMark(this.#markFile)?.generation !== mark?.generation) return 'unsettled';
      if (mark === undefined) return isHeld ? 'held' : 'free';
      return isHeld ? 'half stopped' : 'half restarted';
    } catch (error) {
      log('%s cannot be looked at: %s', this.#spec.name, errorText(error));
      return 'unsettled';
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
