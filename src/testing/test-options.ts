/** What `startEphemeral` and `startShared` have in common. */
import { constants as osConstants } from 'node:os';
import { types } from 'node:util';
import type { ProcessManager } from '../manager/process-manager.js';
import type { ProcessSpec } from '../state/process-spec.js';
import { Pace } from '../support/deadline.js';
import { EarlyExitError, PortInUseError } from '../support/errors.js';

/**
 * Options in, plain configuration out: a function that starts nothing. `forTests` are its defaults under
 * `startEphemeral` and `startShared`: options that are given there replace them.
 */
export type Preset<O> = ((options: O) => ProcessSpec) & { readonly forTests?: Partial<NonNullable<NoInfer<O>>> };

/** Options that are set for the preset unless the caller gives them. */
export interface TestDefaults {
  stateDir?: string;
  port?: number;
}

/**
 * Options are merged: the preset's `forTests`, over them what was chosen for it, over that what the caller gives. An
 * option that is an object (`dynamicConfig`, say) is merged name by name. One that is given as undefined replaces
 * nothing.
 */
export function specForTest<O>(preset: Preset<O>, chosen: object, given: object): ProcessSpec {
  const options: Record<string, unknown> = { ...preset.forTests };
  for (const [name, value] of [...Object.entries(chosen), ...Object.entries(given)]) {
    const below = options[name];
    if (isPlainObject(below) && isPlainObject(value)) options[name] = { ...below, ...value };
    else if (value !== undefined) options[name] = value;
  }
  return preset(options as O);
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

const PORT_ATTEMPTS = 3;

/** These signals say nothing of a port. SIGABRT and SIGTRAP may: some programs do not expect a bind to fail. */
const { SIGSEGV, SIGBUS, SIGFPE, SIGSYS, SIGKILL, SIGTERM } = osConstants.signals;
const CRASHES = [SIGSEGV, SIGBUS, SIGFPE, SIGSYS, SIGKILL, SIGTERM];

/** Only its log tells why a process ended, in its own words. A shell reports a signal as an exit code above 128. */
function mayBeAboutPort(error: unknown): boolean {
  if (!(error instanceof EarlyExitError)) return error instanceof PortInUseError;
  const { exitCode, signal } = error;
  return !CRASHES.includes(signal === null ? (exitCode ?? 0) - 128 : osConstants.signals[signal]);
}

/**
 * Between the check of a port and the server's bind a program that takes no port locks can get the port, and so it is
 * with the ports that a server chooses itself: of 700 Temporals, 16 at a time, 4 ended so. A server that ended early is
 * started again, unless it crashed.
 * @param start returns undefined to be called again without counting an attempt
 */
export async function tryPorts<T>(
  { given, signal }: { given: number | undefined; signal: AbortSignal | undefined },
  start: () => Promise<T | undefined>,
): Promise<T> {
  const pace = new Pace({ firstMs: 5, maxMs: 50 });
  for (let failed = 0; ; ) {
    try {
      const instance = await start();
      if (instance !== undefined) return instance;
    } catch (error) {
      failed += 1;
      if (!mayBeAboutPort(error) || given !== undefined || failed === PORT_ATTEMPTS) throw error;
    }
    await pace.wait({ signal });
  }
}

/** @throws what `manager.start()` throws, and TypeError when neither its spec nor its ready line gives a port */
export async function startManager(manager: ProcessManager, signal: AbortSignal | undefined) {
  const { name, port, readyLine, stateDir } = manager.spec;
  if (port === undefined && !(types.isRegExp(readyLine) && readyLine.source.includes('(?<port>'))) {
    throw new TypeError(
      `"preset" must give its spec a port, or a readyLine with a group named port; ${name} has neither`,
    );
  }
  const instance = await manager.start({ ...(signal && { signal }) });
  const { address = '' } = instance;
  return { ...instance, address, port: Number(address.slice(address.lastIndexOf(':') + 1)), stateDir, manager };
}
