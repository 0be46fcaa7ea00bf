/** A process of a runtime that runs consumer/runtimes/agent.mjs: it gets calls of the library and answers with their outcomes. */
// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** Longer than any call takes on a slow machine: without an answer by then the agent hangs. */
const ANSWER_WITHIN_MS = 45_000;

export class RuntimeAgent {
  #child;
  #exited;
  #lines;
  #stderr = '';

  /** @param {readonly string[]} command the runtime with its options @param {{ cwd: string, env: NodeJS.ProcessEnv }} options */
  constructor([program = '', ...words], options) {
    this.#child = spawn(program, [...words, 'agent.mjs'], options);
    this.#exited = once(this.#child, 'exit');
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr += text;
    });
    this.#child.stdin.on('error', () => undefined); // EPIPE: the agent is gone, which the next answer reports
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * @param {string} name
   * @param {...unknown} words
   * @returns {Promise<any>} the result of the call
   * @throws Error with the code and the message of the call's error
   */
  async call(name, ...words) {
    this.tell(name, ...words);
    return await this.answer();
  }

  /** Sends a call whose answer is read later. @param {string} name @param {...unknown} words */
  tell(name, ...words) {
    this.#child.stdin.write(`${JSON.stringify([name, ...words])}\n`);
  }

  /** The next line that it prints: of an event, or the outcome of a call. @returns {Promise<any>} */
  async answer() {
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_WITHIN_MS);
    const { value: line, done } = await this.#lines.next();
    clearTimeout(killer);
    if (done) {
      const [exitCode, signal] = await this.#exited;
      await Promise.race([once(this.#child, 'close'), delay(1_000)]); // so that stderr is complete
      throw new Error(`ended with ${signal ?? `exit code ${exitCode}`}, without an answer: ${this.#stderr}`);
    }
    const { error, event, result } = JSON.parse(line);
    if (error !== undefined) throw new Error(error);
    return event ?? result;
  }

  async kill() {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Sends no more calls; the agent must then end by itself. */
  async end() {
    this.#child.stdin.end();
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_WITHIN_MS);
    const [exitCode, signal] = await this.#exited;
    clearTimeout(killer);
    if (exitCode !== 0) throw new Error(`ended with ${signal ?? `exit code ${exitCode}`}: ${this.#stderr}`);
  }
}
