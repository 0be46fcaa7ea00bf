/** How memory grows in the course of a soak, from its samples, in KiB. */

type Measure = (values: readonly number[]) => number;

export interface Growth {
  from: number;
  to: number;
  by: number;
}

/** From the second tenth of the time, in which the process is warm, to the last one. */
export function grown(values: readonly number[], measure: Measure): Growth {
  const [, from = Number.NaN, ...later] = tenths(values, measure);
  const to = later.at(-1) ?? Number.NaN;
  return { from, to, by: to - from };
}

/** One number for each tenth of the time. */
export function tenths(values: readonly number[], measure: Measure): number[] {
  const at = (tenth: number) => Math.floor((values.length * tenth) / 10);
  return Array.from({ length: 10 }, (_, tenth) =>
    measure(values.slice(at(tenth), Math.max(at(tenth) + 1, at(tenth + 1)))),
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
