/** A real server for one test or test file: on its own port, in its own folder, and gone with the starting process. */
import { ProcessManager } from '../manager/process-manager.js';
import type { Instance } from '../state/process-spec.js';
import { throwIfAborted } from '../support/deadline.js';
import { assertSupportedPlatform } from '../support/errors.js';
import { findFreePort } from '../system/ports.js';
import { makeTemporaryState, sweepTemporaryStates } from './temporary-state.js';
import { type Preset, specForTest, startManager, type TestDefaults, tryPorts } from './test-options.js';

/** A throw-away server. It is gone with this process, whether `stop()` was called or not. */
export interface EphemeralInstance extends Instance {
  /** `host:port` */
  readonly address: string;
  readonly port: number;
  readonly stateDir: string;
  readonly manager: ProcessManager;
  /** Stop, and remove `stateDir` unless it was given. Idempotent. */
  stop(): Promise<void>;
  /** The same as `stop()`: `await using server = await startEphemeral(…)`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A throw-away instance for tests: own temp folder, own free port (never the same one in parallel test workers),
 * lifetime 'tied', with the preset's `forTests` as defaults of the options. A given `port` is used, a given `stateDir`
 * is used and not removed. In a folder of its own the server is killed, not asked to end: its stopSignal is SIGKILL. A
 * start that fails leaves neither folder nor process. Folders that killed runs left behind are removed by later calls.
 * @throws what `ProcessManager.start()` throws; the signal's reason when it is aborted
 * @throws TypeError when the preset gives neither a port nor a ready line that names one
 */
export async function startEphemeral<O extends TestDefaults | undefined>(
  preset: Preset<O>,
  options?: NonNullable<O> & { signal?: AbortSignal },
): Promise<EphemeralInstance> {
  const { signal, ...given }: TestDefaults & { signal?: AbortSignal | undefined } = options ?? {};
  assertSupportedPlatform();
  throwIfAborted(signal);
  const state = given.stateDir === undefined ? makeTemporaryState() : undefined;
  const start = async () => {
    const chosen = { stateDir: state?.folder, port: given.port ?? (await findFreePort()) };
    const spec = specForTest(preset, chosen, given);
    const stopping = state === undefined ? {} : { stopSignal: 'SIGKILL' as const };
    return await startManager(new ProcessManager({ ...spec, ...stopping, lifetime: 'tied' }), signal);
  };
  const sweeping = sweepTemporaryStates();
  try {
    const instance = await tryPorts({ given: given.port, signal }, start);
    const stop = once(async () => {
      await instance.manager.stop();
      await state?.remove();
    });
    return { ...instance, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await state?.remove();
    throw error;
  } finally {
    await sweeping;
  }
}

/** Calls `act` until it has succeeded once. */
function once(act: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= act().catch((error: unknown) => {
      done = undefined;
      throw error;
    });
    return done;
  };
}
