/**
 * Supervisors among crashes, stops by others, and other supervisors: the process is up while it is wanted, down after a
 * stop, and never there twice.
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager } from '../../../src/index.js';
import { journalOf } from '../../../src/state/journal.js';
import { signalUnlessGone } from '../../helpers/evidence.js';
import type { Random } from '../../helpers/random.js';
import { eventually, STILL_MS } from '../../helpers/waiting.js';
import { accepts, type Witness, witnessedServer } from '../../helpers/witness.js';
import { assertNothingLeft } from '../aftermath.js';
import type { Row } from '../attack.js';
import { type Victim, Victims } from '../victims.js';

const EVENTS_EACH = 8;

/** The longest pause before the next event when the effect of the last one is not awaited. */
const RASH_MS = 60;

const START_MS = 5_000;

/** A server that is suspended before it is ready is given up only after its start time, and the machine may be busy. */
const BACK_MS = START_MS + 10_000;

/** Longer than any call of this row may take by the contract: a stop, and a start with that start time. */
const CALL_LIMIT_MS = BACK_MS + 15_000;

const WHEN_UP = { crash: 4, stop: 2, start: 1, restart: 1, suspend: 1, another: 1, lose: 1, 'lose and crash': 2 };
const WHEN_DOWN = { crash: 0, stop: 1, start: 4, restart: 1, suspend: 0, another: 2, lose: 1, 'lose and crash': 0 };

type Happening = keyof typeof WHEN_UP;

class Episode {
  readonly #server: Witness;
  readonly #random: Random;
  readonly #victims: Pick<Victims, 'next'>;
  readonly #outside: ProcessManager;
  #supervisors: Victim[] = [];
  #isWanted = true;
  /** Servers that were killed or suspended: they do not count as up, even if they still look alive. */
  readonly #hit = new Set<number>();

  constructor(server: Witness, random: Random, victims: Pick<Victims, 'next'>) {
    this.#server = server;
    this.#random = random;
    this.#victims = victims;
    // This manager has a longer start time than a supervisor, which starts the process again when it does not become
    // ready.
    this.#outside = new ProcessManager({ ...server.spec, startTimeoutMs: BACK_MS });
  }

  async begin(): Promise<void> {
    await this.#another();
    if (this.#random.next() < 0.7) await this.#another();
    await this.assertAsWanted();
  }

  /** Causes one more event. @returns which one */
  async go(): Promise<Happening> {
    const what = this.#random.weighted(this.#isWanted ? WHEN_UP : WHEN_DOWN);
    if (what.includes('lose')) await this.#lose();
    if (what.includes('crash')) this.#signalServer('SIGKILL');
    if (what === 'suspend') this.#signalServer('SIGSTOP');
    if (what === 'another') await this.#another();
    if (what === 'start' || what === 'stop' || what === 'restart')
      await this.#outside[what]({ signal: AbortSignal.timeout(CALL_LIMIT_MS) });
    if (what === 'stop') this.#isWanted = false;
    else if (what === 'start' || what === 'restart') this.#isWanted = true;
    return what;
  }

  async pause(): Promise<void> {
    if (this.#random.next() < 0.4) await delay(this.#random.between(0, RASH_MS));
    else await this.assertAsWanted();
  }

  async assertAsWanted(): Promise<void> {
    const server = this.#server;
    if (!this.#isWanted) {
      const started = server.pids().length;
      // A supervisor that did not run from its look at the journal until its start can have the lock for an instant after
      // the stop: it meets the stop, and gives the lock back.
      await eventually('the lock is free', () => !isLocked(this.#outside.spec.lockFile));
      await server.assertNothingThere();
      await delay(STILL_MS);
      await server.assertNothingThere();
      assert.equal(server.pids().length, started, 'servers that were started');
      return;
    }
    const isUp = async () => this.#isUp(server.alive()) && (await accepts(server.spec.port));
    await eventually('exactly one server runs and accepts connections', isUp, { withinMs: BACK_MS });
  }

  async end(): Promise<void> {
    await this.assertAsWanted();
    await this.#outside.stop();
    this.#isWanted = false;
    await this.assertAsWanted();
    for (const supervisor of this.#supervisors) {
      supervisor.letGo();
      assert.deepEqual(await supervisor.outcome, { word: 'ended' });
      await supervisor.kill();
    }
    await assertNothingLeft(this.#server);
  }

  async #another(): Promise<void> {
    const supervisor = this.#victims.next();
    this.#supervisors.push(supervisor);
    await supervisor.call('supervise', this.#server.spec);
    // A supervisor that is lost before it has undone the stop wanted nothing yet: the others stay on standby.
    const { spec } = this.#outside;
    if (!this.#isWanted) await eventually('the stop is undone', () => journalOf(spec).read().isWanted);
    this.#isWanted = true;
  }

  /** Loses a supervisor, but never the last one. */
  async #lose(): Promise<void> {
    if (this.#supervisors.length < 2) return;
    const index = Math.floor(this.#random.between(0, this.#supervisors.length));
    const [lost] = this.#supervisors.splice(index, 1);
    await lost?.kill();
  }

  #isUp([pid, ...others]: readonly number[]): boolean {
    if (pid === undefined || others.length > 0 || this.#hit.has(pid)) return false;
    return isLocked(this.#outside.spec.lockFile);
  }

  #signalServer(name: NodeJS.Signals): void {
    for (const pid of this.#server.alive()) {
      this.#hit.add(pid);
      // A server that was hit before may be gone by now.
      signalUnlessGone(pid, name);
    }
  }
}

export const superviseRows: readonly Row[] = [
  {
    name: 'a supervised process runs exactly once while it is wanted, and does not run after a stop',
    laws: [1, 5, 6],
    attempts: 25,
    async attack(attack) {
      const { random } = attack;
      const victims = new Victims(attack);
      const counts: Partial<Record<Happening, number>> = {};
      await attack.rounds(async (round) => {
        const used: Victim[] = [];
        const next = () => {
          used.push(victims.next());
          return used.at(-1) as Victim;
        };
        // The supervisors must be gone before the server is stopped, even if the attempt fails: they would start it
        // again.
        round.after(() => Promise.all(used.map((supervisor) => supervisor.kill())));
        const times = random.weighted({ quick: 2, slow: 1 }) === 'quick' ? {} : { listenAfterMs: 20, dieAfterMs: 30 };
        const server = await witnessedServer(round, times, { startTimeoutMs: START_MS, stopTimeoutMs: 1_000 });
        const episode = new Episode(server, random, { next });
        await episode.begin();
        for (let event = 0; event < EVENTS_EACH; event += 1) {
          const what = await episode.go();
          counts[what] = (counts[what] ?? 0) + 1;
          await episode.pause();
        }
        await episode.end();
      });
      attack.remark(JSON.stringify(counts));
    },
  },
];
