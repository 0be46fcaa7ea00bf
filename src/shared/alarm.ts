/** A wait that can be cut short. Who rings while nobody waits cuts the next wait short. */
export class Alarm {
  #hasRung = false;
  #wake: () => void = () => undefined;

  ring(): void {
    this.#hasRung = true;
    this.#wake();
  }

  /** Until it rings, and no longer than so many milliseconds. */
  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#hasRung) this.#wake();
    });
    this.#hasRung = false;
  }
}
