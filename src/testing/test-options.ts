/** What `startEphemeral` and `startShared` have in common. */
import { isPortOpen } from '../process/port.js';
import { EarlyExitError, PortInUseError } from '../shared/errors.js';

/** Options of a preset that are set for it, where the caller does not. */
export interface TestDefaults {
  stateDir?: string;
  port?: number;
}

/** Without those that are undefined: they would hide the defaults below them, a folder and a port of its own among these. */
export function definedOptions<O extends object>(options: O): O {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as O;
}

/** A free port can be taken between the look and the server's bind by a program that takes no port locks. */
export const PORT_ATTEMPTS = 5;

/** Did the start fail because somebody else has the port, be it as the near end of a connection? */
export async function isAboutPort(error: unknown, port: number): Promise<boolean> {
  if (error instanceof PortInUseError) return true;
  if (!(error instanceof EarlyExitError)) return false;
  const isComplaint = error.logTail.some((line) => /address already in use|EADDRINUSE/i.test(line));
  return isComplaint || (await isPortOpen({ host: '127.0.0.1', port }, { timeoutMs: 1_000 }));
}
