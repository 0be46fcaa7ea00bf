/** A manager as one user of a shared process; of a process with another lifetime it is none, and everything here is nothing. */
import { identify } from '../inspect/holder.js';
import { isShared } from '../inspect/watcher.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { bringDown } from '../stop/stop.js';
import type { ProcessInfo } from '../system/process-info.js';

export class Sharing {
  readonly #spec: CompleteSpec;
  readonly #lastOut: (() => Promise<void>) | undefined;
  #user: User | undefined;
  /** Somebody was told that the process is there for him, and has not left since. */
  #isIn: boolean;
  #leaving: Promise<void> | undefined;
  #startsUnderWay = 0;

  /** @param lastOut what the last user does besides, in a place where nobody starts it with another lifetime */
  constructor(spec: CompleteSpec, { user, lastOut }: { user?: User; lastOut?: () => Promise<void> } = {}) {
    this.#spec = spec;
    this.#lastOut = lastOut;
    this.#user = user;
    this.#isIn = user !== undefined;
  }

  /** Counted as a user from before `start` until `leave()`; when all of several starts fail, the last of them leaves. */
  async during<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (this.#spec.lifetime !== 'shared') return await start();
    await this.#leaving?.catch(() => undefined); // Whoever left has the error.
    this.#startsUnderWay += 1;
    try {
      await this.#join(signal);
      const result = await start();
      this.#isIn = this.#user !== undefined;
      return result;
    } catch (error) {
      if (!this.#isIn && this.#startsUnderWay === 1) await this.leave();
      throw error;
    } finally {
      this.#startsUnderWay -= 1;
    }
  }

  async leave(): Promise<void> {
    this.#leaving ??= this.#leave().finally(() => {
      this.#leaving = undefined;
    });
    await this.#leaving;
  }

  /** Each start by itself, so that the end of one, by its signal, is not the end of another; the first one counts. */
  async #join(signal: AbortSignal | undefined): Promise<void> {
    if (this.#user !== undefined) return;
    const user = await joinUsers(this.#spec, { signal });
    if (this.#user === undefined) this.#user = user;
    else user.release();
  }

  async #leave(): Promise<void> {
    const user = this.#user;
    this.#user = undefined;
    this.#isIn = false;
    if (user === undefined) return;
    await leaveUsers(this.#spec, user, async () => {
      const holder = identify(this.#spec);
      // One that was found running keeps the lifetime that it was started with. In a place for sharing alone there is no
      // other: one without a watcher there has lost it, and left to itself it would keep the next users out.
      const keeps = (process: ProcessInfo) => this.#lastOut === undefined && !isShared(process);
      const isForeign = holder.kind === 'strangers' || (holder.kind === 'process' && keeps(holder.process));
      if (!isForeign) await bringDown(this.#spec, {});
      await this.#lastOut?.();
    });
  }
}
