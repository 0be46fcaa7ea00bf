/** The `debug` package, loaded with the first line that is logged. */
import { loadPackage } from './load.js';

type Log = (format: string, ...values: unknown[]) => void;

/** A logger for `flock-process:LAYER`, switched on by the environment variable DEBUG. */
export function debugLog(layer: string): Log {
  let log: Log | undefined;
  return (format, ...values) => {
    log ??= loadDebug()(`flock-process:${layer}`);
    log(format, ...values);
  };
}

function loadDebug(): (namespace: string) => Log {
  try {
    return (loadPackage('debug') as typeof import('debug')).default;
  } catch {
    // MODULE_NOT_FOUND, in a bundle; EMFILE. That costs the lines of the log, not a lock.
    return () => () => undefined;
  }
}
