/** What `startEphemeral` and `startShared` have in common. */
import type { ProcessSpec } from '../state/process-spec.js';
import { EarlyExitError, PortInUseError } from '../support/errors.js';
import { isPortOpen } from '../system/ports.js';

/**
 * Options in, plain configuration out: a function that starts nothing. `forTests` are its defaults under `startEphemeral` and
 * `startShared`, below the options that are given there.
 */
export type Preset<O> = ((options: O) => ProcessSpec) & { readonly forTests?: Partial<NonNullable<NoInfer<O>>> };

/** Options of a preset that are set for it, where the caller does not. */
export interface TestDefaults {
  stateDir?: string;
  port?: number;
}

/** Without those that are undefined: they would hide the defaults below them, a folder and a port of its own among these. */
export function definedOptions<O extends object>(options: O): O {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as O;
}

/** The preset's `forTests` below what is given; of an option that is an object, name by name (`dynamicConfig`, say). */
export function overTestDefaults<O>(preset: Preset<O>, given: object): O {
  const defaults: Record<string, unknown> = { ...preset.forTests };
  const merged = Object.entries(given).map(([name, value]) => {
    const below = defaults[name];
    return [name, isPlainObject(below) && isPlainObject(value) ? { ...below, ...value } : value];
  });
  return { ...defaults, ...Object.fromEntries(merged) } as O;
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** A free port can be taken between the look and the server's bind by a program that takes no port locks. */
export const PORT_ATTEMPTS = 5;

/** The last one is Temporal's, of the ports that it chooses itself before it binds any. */
const PORT_COMPLAINT = /address already in use|EADDRINUSE|cannot assign requested address|assigning ephemeral port/i;

/**
 * Did the start fail because somebody else has the port, be it as the near end of a connection? A server that crashed by a
 * signal counts, too: Temporal ends so when one of its further ports, which it chooses itself, was taken.
 */
export async function isAboutPort(error: unknown, port: number): Promise<boolean> {
  if (error instanceof PortInUseError) return true;
  if (!(error instanceof EarlyExitError)) return false;
  if (error.signal !== null) return true;
  const isComplaint = error.logTail.some((line) => PORT_COMPLAINT.test(line));
  return isComplaint || (await isPortOpen({ host: '127.0.0.1', port }, { timeoutMs: 1_000 }));
}
