/** A manager as one user of a shared process; of a process with another lifetime it is none, and everything here is nothing. */
import { identify } from './identity.js';
import type { CompleteSpec } from './process-spec.js';
import { bringDown } from './stop.js';
import { isShared } from './tether.js';
import { joinUsers, leaveUsers, type User } from './users.js';

export class Sharing {
  readonly #spec: CompleteSpec;
  readonly #lastOut: () => Promise<void>;
  #user: Promise<User> | undefined;
  #leaving: Promise<void> | undefined;
  #startsUnderWay = 0;

  constructor(spec: CompleteSpec, { user, lastOut }: { user?: User; lastOut?: () => Promise<void> } = {}) {
    this.#spec = spec;
    this.#lastOut = lastOut ?? (async () => undefined);
    if (user !== undefined) this.#user = Promise.resolve(user);
  }

  /** Counted as a user from before `start` until `leave()`; when it was not before, and `start` fails, it leaves. */
  async during<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (this.#spec.lifetime !== 'shared') return await start();
    await this.#leaving;
    const wasUser = this.#user !== undefined;
    this.#startsUnderWay += 1;
    try {
      await this.#join(signal);
      return await start();
    } catch (error) {
      if (!wasUser && this.#startsUnderWay === 1) await this.leave();
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

  async #join(signal: AbortSignal | undefined): Promise<void> {
    this.#user ??= joinUsers(this.#spec, signal);
    try {
      await this.#user;
    } catch (error) {
      this.#user = undefined;
      throw error;
    }
  }

  async #leave(): Promise<void> {
    const user = await this.#user?.catch(() => undefined);
    this.#user = undefined;
    if (user === undefined) return;
    await leaveUsers(this.#spec, user, async () => {
      const holder = identify(this.#spec);
      // One that was found running keeps the lifetime that it was started with.
      const isForeign = holder.kind === 'strangers' || (holder.kind === 'process' && !isShared(holder.process));
      if (!isForeign) await bringDown(this.#spec, {});
      await this.#lastOut();
    });
  }
}
