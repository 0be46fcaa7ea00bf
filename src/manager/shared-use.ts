/** Counts a manager as one user of a shared process. Does nothing unless the lifetime is 'shared'. */
import { identify } from '../inspect/holder.js';
import { isShared } from '../inspect/watcher.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { bringDown } from '../stop/stop.js';

export class SharedUse {
  readonly #spec: CompleteSpec;
  readonly #afterLastUser: () => Promise<void>;
  #user: User | undefined;
  /** A start has succeeded since the last `leave()`. */
  #isIn = false;
  #leaving: Promise<void> | undefined;
  #startsUnderWay = 0;

  /** @param afterLastUser what the last user does when it has ended the process; nobody can become one meanwhile */
  constructor(spec: CompleteSpec, afterLastUser: () => Promise<void>) {
    this.#spec = spec;
    this.#afterLastUser = afterLastUser;
  }

  /** Counted as a user from before `start` until `leave()`; when all of several starts fail, the last of them leaves. */
  async during<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (this.#spec.lifetime !== 'shared') return await start();
    await this.#leaving?.catch(() => undefined); // The error is told to the caller of leave().
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

  /** Each start joins by itself, so that an aborted one does not end another; the first one that has joined is counted. */
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
      // A process that was found running keeps the lifetime that it was started with.
      const isForeign = holder.kind === 'strangers' || (holder.kind === 'process' && !isShared(holder.process));
      if (!isForeign) await bringDown(this.#spec, {});
      await this.#afterLastUser();
    });
  }
}
