/** Counts a manager as one user of a shared process. Does nothing unless the lifetime is 'shared'. */
import { identify } from '../inspect/holder.js';
import { isShared } from '../inspect/watcher.js';
import { journalOf } from '../state/journal.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { bringDown } from '../stop/stop.js';

export class SharedUse {
  readonly #spec: CompleteSpec;
  readonly #afterLastUser: () => Promise<void>;
  /** Set from the first start that succeeds until `leave()`. */
  #user: User | undefined;
  #leaving: Promise<void> | undefined;

  /** @param afterLastUser what the last user does after it has ended the process; nobody can become a user meanwhile */
  constructor(spec: CompleteSpec, afterLastUser: () => Promise<void>) {
    this.#spec = spec;
    this.#afterLastUser = afterLastUser;
  }

  /** Runs `start` as a user. Each start counts by itself: a failed or aborted one must not end another's process. */
  async during<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (this.#spec.lifetime !== 'shared') return await start();
    await this.#leaving?.catch(() => undefined); // leave() rejects with this error.
    const user = await joinUsers(this.#spec, { signal });
    try {
      const result = await start();
      if (this.#user !== undefined) user.release();
      this.#user ??= user;
      return result;
    } catch (error) {
      await this.#leaveAs(user);
      throw error;
    }
  }

  async leave(): Promise<void> {
    const user = this.#user;
    this.#user = undefined;
    if (user !== undefined) {
      this.#leaving = this.#leaveAs(user).finally(() => {
        this.#leaving = undefined;
      });
    }
    await this.#leaving;
  }

  async #leaveAs(user: User): Promise<void> {
    // The watcher ends the process after lingerMs. A failed start has itself ended what it spawned.
    if (this.#spec.lingerMs > 0) return user.release();
    await leaveUsers(this.#spec, user, async () => {
      const holder = identify(this.#spec);
      // A process that was found running keeps the lifetime that it was started with.
      const isForeign = holder.kind === 'strangers' || (holder.kind === 'process' && !isShared(holder.process));
      // If this last user is killed before the process is gone, a newcomer must not reuse it: it may be ending already.
      if (holder.kind === 'process' && !isForeign) journalOf(this.#spec).note('abandon');
      if (!isForeign) await bringDown(this.#spec, {});
      await this.#afterLastUser();
    });
  }
}
