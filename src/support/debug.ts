/** The only user of the `debug` package, loaded with the first line that is logged: an import alone costs nothing. */
import { createRequire } from 'node:module';

type Log = (format: string, ...values: unknown[]) => void;

const require = createRequire(import.meta.url);

/** A logger for `flock-process:LAYER`, switched on by the environment variable DEBUG. */
export function debugLog(layer: string): Log {
  let log: Log | undefined;
  return (format, ...values) => {
    log ??= loadLog(layer);
    log(format, ...values);
  };
}

function loadLog(layer: string): Log {
  try {
    return (require('debug') as (namespace: string) => Log)(`flock-process:${layer}`);
  } catch {
    // MODULE_NOT_FOUND, be it that there is no descriptor left to read it with: a line less, not a lock that is lost.
    return () => undefined;
  }
}
