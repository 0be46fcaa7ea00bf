/** Computes from the samples of a soak how its memory grows, in KiB. */

type Measure = (values: readonly number[]) => number;

export interface Growth {
  from: number;
  to: number;
  by: number;
}

/** Growth from the second tenth of the time, in which the process is warmed up, to the last tenth. */
export function grown(values: readonly number[], measure: Measure): Growth {
  const [, from = Number.NaN, ...later] = tenths(values, measure);
  const to = later.at(-1) ?? Number.NaN;
  return { from, to, by: to - from };
}

/** Growth of what comes and goes with the cycles of the managers, of which each quarter has many. */
export function secondToLastQuarter(values: readonly number[], measure: Measure): Growth {
  const [, from = Number.NaN, , to = Number.NaN] = parts(values, 4, measure);
  return { from, to, by: to - from };
}

/** One value for each tenth of the time. */
export function tenths(values: readonly number[], measure: Measure): number[] {
  return parts(values, 10, measure);
}

function parts(values: readonly number[], count: number, measure: Measure): number[] {
  const at = (part: number) => Math.floor((values.length * part) / count);
  return Array.from({ length: count }, (_, part) =>
    measure(values.slice(at(part), Math.max(at(part) + 1, at(part + 1)))),
  );
}

export function least(values: readonly number[]): number {
  return Math.min(...values);
}

export function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}

export function inMiB({ from, to }: Growth): string {
  return `${(from / 1024).toFixed(1)} MiB, in the end ${(to / 1024).toFixed(1)}`;
}

export function inWholeMiB(kibibytes: number): string {
  return (kibibytes / 1024).toFixed(0);
}
