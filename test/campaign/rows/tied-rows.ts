/**
 * Attacks on tied processes: none outlives its owner, however the owner ends, and one whose watcher is killed can still
 * be stopped.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager, type ProcessSpec } from '../../../src/index.js';
import type { Ending, Order, Word } from '../../fixtures/owner.js';
import { killUnlessGone } from '../../helpers/evidence.js';
import { isRunning, processesIn } from '../../helpers/outside-view.js';
import { plainFixture } from '../../helpers/paths.js';
import { type Program, startFixture } from '../../helpers/programs.js';
import { freePort } from '../../helpers/resources.js';
import { processesNaming } from '../../helpers/tied.js';
import { eventually } from '../../helpers/waiting.js';
import { accepts } from '../../helpers/witness.js';
import type { Attack, Round, Row } from '../attack.js';
import { watcherRow } from './watcher-row.js';

/** How much longer than its stop time a server may live: the watcher takes milliseconds, a busy machine more. */
const SLACK_MS = 10_000;

/** A way in which an owner ends: by itself or, if there is a signal, because another process sends it. */
interface Way {
  name: string;
  ending: Ending;
  signal?: NodeJS.Signals;
  /** Whether the owner is suspended before. */
  isSuspended?: boolean;
  /** Whether the signal goes to the owner's whole group. */
  isGroup?: boolean;
}

const ways: readonly Way[] = [
  { name: 'SIGKILL', ending: 'stays', signal: 'SIGKILL' },
  { name: 'SIGTERM', ending: 'stays', signal: 'SIGTERM' },
  { name: 'exit', ending: 'exits' },
  { name: 'uncaught exception', ending: 'throws' },
  { name: 'end of the thread', ending: 'thread exits' },
  { name: 'SIGKILL to its group', ending: 'stays', signal: 'SIGKILL', isGroup: true },
  { name: 'SIGKILL while suspended', ending: 'stays', signal: 'SIGKILL', isSuspended: true },
  { name: 'SIGINT to its group', ending: 'stays', signal: 'SIGINT', isGroup: true },
  { name: 'SIGHUP', ending: 'stays', signal: 'SIGHUP' },
  { name: 'nothing left to do', ending: 'returns' },
  { name: 'rejection', ending: 'rejects unheard' },
  { name: 'exception in the thread', ending: 'thread throws' },
  { name: 'nothing left to do in the thread', ending: 'thread returns' },
  { name: 'termination of the thread', ending: 'thread is terminated' },
];

/** The servers that are owned: how each reacts to SIGTERM, and whether it has a child in its group that outlives it. */
const servers = {
  plain: {},
  slow: { 'on-term': 150 },
  deaf: { 'on-term': 'ignore', child: 'ignore' },
  parent: { child: 'ignore' },
  /** This server is killed just before its owner ends. */
  'first to die': { child: 'ignore' },
} as const;

type Kind = keyof typeof servers;

const GRACE_MS = 300;

export const tiedRows: readonly Row[] = [
  {
    name: 'a tied process never outlives its owner, however the owner ends',
    laws: [7, 2],
    attempts: 200,
    attack: async (attack) => {
      const tally = new Tally();
      const first = Math.floor(attack.random.between(0, ways.length));
      let next = standby(attack, wayOf(first));
      await attack.rounds(async (round) => {
        const owner = next;
        const way = wayOf(first + round.index);
        next = standby(attack, wayOf(first + round.index + 1));
        await endOwner(attack, round, { owner, way, tally });
      });
      tally.tell(attack);
    },
  },
  watcherRow,
];

function wayOf(index: number): Way {
  return ways[index % ways.length] as Way;
}

/** An owner that runs and waits for its order. */
function standby(attack: Attack, { isGroup = false }: Way): Program {
  return startFixture(attack, 'owner', [], { detached: isGroup });
}

async function endOwner(
  attack: Attack,
  round: Round,
  { owner, way, tally }: { owner: Program; way: Way; tally: Tally },
): Promise<void> {
  const { random } = attack;
  round.after(() => owner.kill());
  const kind = random.weighted({ plain: 4, slow: 1, deaf: 1, parent: 1, 'first to die': 1 });
  // An owner can find nothing left to do once its start is over.
  const canBeEarly = kind !== 'first to die' && !way.ending.endsWith('returns');
  const afterMs = canBeEarly && random.next() < 0.5 ? random.between(0, 150) : undefined;
  const spec = await specOf(attack, round, kind);
  assert.equal(await owner.message<Word>(), 'up');
  owner.send({ spec, ending: way.ending, afterMs } satisfies Order);
  if (afterMs === undefined) await meetReady(owner, { way, kind });
  else if (way.signal !== undefined) await delay(afterMs);
  if (way.isSuspended) await suspend(owner, random.between(0, 100));
  if (way.signal !== undefined) process.kill(way.isGroup ? -owner.pid : owner.pid, way.signal);
  const isThread = way.ending.startsWith('thread');
  await (isThread ? eventually('the thread has ended', () => owner.messages.includes('over')) : owner.ended());
  const begin = performance.now();
  const others = () => livingIn(spec.stateDir).filter((pid) => pid !== owner.pid);
  const what = `a ${kind} server (${afterMs === undefined ? 'ready' : `${afterMs} ms old`}) has ended after the end of its owner (${way.name}), and its lock and port are free`;
  // The files of a process with several threads are listed under its main thread, and its last thread closes them.
  const isGone = async () =>
    others().length === 0 && !isLocked(join(spec.stateDir, 'owned.lock')) && !(await accepts(spec.port));
  await eventually(what, isGone, { withinMs: GRACE_MS + SLACK_MS, everyMs: 10 });
  tally.add(kind, performance.now() - begin, afterMs !== undefined);
  assert.equal(owner.isAlive, isThread);
  assert.equal((await new ProcessManager(spec).status()).state, 'stopped');
}

async function meetReady(owner: Program, { way, kind }: { way: Way; kind: Kind }): Promise<void> {
  const word = await owner.message<Word>();
  assert.ok(typeof word === 'object' && 'instance' in word, `not ready: ${JSON.stringify(word)}`);
  // An owner that ends by itself ends at once.
  if (way.ending === 'stays') assert.ok(isRunning(word.instance.pid), 'it died under its owner');
  if (kind === 'first to die') killUnlessGone(word.instance.pid);
}

async function suspend(owner: Program, milliseconds: number): Promise<void> {
  owner.kill('SIGSTOP');
  await delay(milliseconds);
}

async function specOf(attack: Attack, { index, after }: Round, kind: Kind): Promise<ProcessSpec & { port: number }> {
  const stateDir = join(attack.folder, String(index));
  const port = await freePort();
  const words = Object.entries({ port, folder: stateDir, ...servers[kind] }).map(([key, value]) => `--${key}=${value}`);
  const args = [plainFixture('server.mjs'), ...words];
  const common = { name: 'owned', lifetime: 'tied', stateDir, port, stopTimeoutMs: GRACE_MS } as const;
  after(() => new ProcessManager(spec).stop());
  const spec: ProcessSpec & { port: number } = { ...common, command: process.execPath, args };
  return spec;
}

/**
 * PIDs of all processes that have a file of the folder open or name it on their command line: the server and its child,
 * the shell that becomes the server, the watcher.
 */
function livingIn(stateDir: string): number[] {
  const named = processesNaming(stateDir);
  return named.length > 0 ? named : processesIn(stateDir).filter(isRunning);
}

class Tally {
  readonly #endsMs = new Map<string, number[]>();

  add(kind: Kind, ms: number, isEarly: boolean): void {
    const key = isEarly ? 'owners that ended during the start' : `owners of ${kind} servers`;
    this.#endsMs.set(key, [...(this.#endsMs.get(key) ?? []), ms]);
  }

  tell(attack: Attack): void {
    for (const [key, ms] of this.#endsMs) {
      attack.remark(`${ms.length} ${key}: the last process gone after ${Math.round(Math.max(...ms))} ms at most`);
    }
  }
}
