import type { ProcessSpec } from '../state/process-spec.js';

/**
 * Options in, plain configuration out: a function that starts nothing. `forTests` are its defaults under `startEphemeral` and
 * `startShared`, below the options that are given there.
 */
export type Preset<O> = ((options: O) => ProcessSpec) & { readonly forTests?: Partial<NonNullable<NoInfer<O>>> };
