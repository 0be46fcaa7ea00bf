/** Counts a manager as one user of a shared process. Does nothing unless the lifetime is 'shared'. */
import { identify } from '../inspect/holder.js';
import { isShared } from '../inspect/watcher.js';
import type { Announce } from '../start/launch.js';
import { journalOf } from '../state/journal.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { joinUsers, leaveUsers, type User } from '../state/users.js';
import { bringDown } from '../stop/stop.js';
import { linkSignals, whenAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';

const log = debugLog('users');

export class SharedUse {
  readonly #spec: CompleteSpec;
  readonly #afterLastUser: () => Promise<void>;
  readonly #onWait: () => void;
  /** Set from the first start that succeeds until `leave()`. */
  #user: User | undefined;
  /** Starts under way: those that were called before a `leave()` end with it. */
  readonly #starts = new Set<Promise<unknown>>();
  #leaving: Promise<void> | undefined;

  /** @param afterLastUser what the last user does after it has ended the process; nobody can become a user meanwhile */
  constructor(spec: CompleteSpec, afterLastUser: () => Promise<void>, announce: Announce) {
    this.#spec = spec;
    this.#afterLastUser = afterLastUser;
    this.#onWait = () => announce('waiting', { for: 'stop', pid: undefined });
  }

  /** Runs `start` as a user. Each start counts by itself: a failed or aborted one must not end another's process. */
  async during<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (this.#spec.lifetime !== 'shared') return await start();
    const work = this.#startAsUser(signal, start);
    this.#starts.add(work);
    return await work.finally(() => this.#starts.delete(work));
  }

  async #startAsUser<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    await this.#afterLeaving(signal);
    const user = await joinUsers(this.#spec, { signal, onWait: this.#onWait });
    try {
      const result = await start();
      if (this.#user !== undefined) user.release();
      this.#user ??= user;
      return result;
    } catch (error) {
      await this.#leaveAs(user).catch((reason: unknown) =>
        log('%s is not left: %s', this.#spec.name, errorText(reason)),
      );
      throw error;
    }
  }

  async #afterLeaving(signal: AbortSignal | undefined): Promise<void> {
    const own = linkSignals(signal);
    try {
      // leave() rejects with its error itself.
      await Promise.race([this.#leaving?.catch(() => undefined), whenAborted(own.signal)]);
    } finally {
      own.clear();
    }
  }

  async leave(): Promise<void> {
    // Later starts wait for this call, so it waits for none of them.
    const leaving = this.#leaveAfter(this.#leaving, [...this.#starts]).finally(() => {
      if (this.#leaving === leaving) this.#leaving = undefined;
    });
    this.#leaving = leaving;
    await leaving;
  }

  async #leaveAfter(earlier: Promise<void> | undefined, starts: readonly Promise<unknown>[]): Promise<void> {
    if (earlier !== undefined || starts.length > 0) await Promise.allSettled([earlier, ...starts]);
    const user = this.#user;
    this.#user = undefined;
    if (user !== undefined) await this.#leaveAs(user);
    else await earlier;
  }

  async #leaveAs(user: User): Promise<void> {
    // The watcher ends the process after lingerMs. A failed start has itself ended what it spawned.
    if (this.#spec.lingerMs > 0) return user.release();
    await leaveUsers(this.#spec, user, async () => {
      await this.#end();
      await this.#afterLastUser();
    });
  }

  /** A stop at work: until it is done, no start spawns a process that it could take for the one that it ends. */
  async #end(): Promise<void> {
    const journal = journalOf(this.#spec);
    const work = await journal.holdShared().catch(() => undefined); // The journal can be gone; the process must end.
    try {
      const holder = identify(this.#spec);
      // A process that was found running keeps the lifetime that it was started with.
      const isOther = holder.kind === 'process' && !isShared(holder.process);
      // The starter of a shared process is a user itself, so one that is at work now starts a process of another kind.
      if (isOther || holder.kind === 'strangers' || holder.kind === 'starting') return;
      // If this last user is killed before the process is gone, a newcomer must not reuse it: it may be ending already.
      if (holder.members.length > 0) journal.note('abandon');
      await bringDown(this.#spec);
    } finally {
      work?.release();
    }
  }
}
