/**
 * Shifts the clocks that a program sees, as when the machine slept or the time was set. See fixtures/shifted-clocks.c.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { reachesState } from './outside-view.js';
import { plainFixture } from './paths.js';
import type { Program } from './programs.js';
import { temporaryFolder } from './resources.js';

type Test = Parameters<typeof temporaryFolder>[0];

export class ShiftedClocks {
  /** The environment of a program that sees the shifted clocks. */
  readonly env: NodeJS.ProcessEnv;
  readonly #file: string;
  readonly #shifts = { monotonicMs: 0n, wallMs: 0n };

  constructor(test: Test) {
    const folder = temporaryFolder(test);
    const library = join(folder, 'shifted-clocks.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, plainFixture('shifted-clocks.c'), '-ldl']);
    this.#file = join(folder, 'shifts');
    this.env = { ...process.env, LD_PRELOAD: library, SHIFTED_CLOCKS: this.#file };
    this.#write();
  }

  /** Acts out a sleep of the machine: the program is suspended, and its monotonic clock does not advance meanwhile. */
  async sleep(program: Program, ms: number): Promise<void> {
    program.kill('SIGSTOP');
    await reachesState(program.pid, 'T');
    const began = process.hrtime.bigint();
    await delay(ms);
    this.#shifts.monotonicMs -= (process.hrtime.bigint() - began) / 1_000_000n;
    this.#write();
    program.kill('SIGCONT');
  }

  /** Shifts the wall clock, as when the time is set. */
  setWallClock(byMs: number): void {
    this.#shifts.wallMs = BigInt(byMs);
    this.#write();
  }

  /** Overwrites the file in place, because the programs have it mapped. */
  #write(): void {
    const bytes = new BigInt64Array([this.#shifts.monotonicMs, this.#shifts.wallMs]);
    const fd = openSync(this.#file, constants.O_CREAT | constants.O_WRONLY);
    writeSync(fd, bytes, 0, bytes.byteLength, 0);
    closeSync(fd);
  }
}
