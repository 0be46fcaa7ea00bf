/** The `debug` package, loaded when the first line is logged. */
import { errorCode, errorText } from './errors.js';
import { loadPackage } from './load.js';

type Log = (format: string, ...values: unknown[]) => void;

/** A logger for `flock-process:LAYER`, switched on by the environment variable DEBUG. */
export function debugLog(layer: string): Log {
  let log: Log | undefined;
  return (format, ...values) => {
    log ??= loadDebug(`flock-process:${layer}`);
    log(format, ...values);
  };
}

let isMissingSaid = false;

function loadDebug(name: string): Log {
  try {
    return (loadPackage('debug') as typeof import('debug')).default(name);
  } catch (error) {
    // MODULE_NOT_FOUND, in a bundle; EMFILE. Only log lines are lost: locks work without them.
    if (!isMissingSaid && isAskedFor(name)) {
      isMissingSaid = true;
      const why = errorCode(error) ?? errorText(error);
      process.stderr.write(
        `flock-process: nothing is logged, although DEBUG asks for it: the package "debug" cannot be loaded (${why}); install it beside the program\n`,
      );
    }
    return () => undefined;
  }
}

/** Reads DEBUG as the package does: "*" stands for any text, and a name with "-" in front is excluded. */
function isAskedFor(name: string): boolean {
  const words = (process.env.DEBUG ?? '').split(/[\s,]+/).filter((word) => word !== '');
  const isMatch = (word: string) => new RegExp(`^${word.replace(/[^\w*]/g, '\\$&').replaceAll('*', '.*')}$`).test(name);
  return words.some(isMatch) && !words.some((word) => word.startsWith('-') && isMatch(word.slice(1)));
}
