/** Attacks on the files in the state folder: another user's, links, and the folder gone. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { startSecond } from '../../helpers/evidence.js';
import { asNobody } from '../../helpers/one-call.js';
import { startPowerlessManager } from '../../helpers/powerless.js';
import type { Attack, Round, Row } from '../attack.js';
import { remoteCaller } from './disk-rows.js';
import { attemptWithFault, faultyServer } from './fault-attempt.js';

/** All that may be in a state folder. */
const FILES = ['lock', 'pid', 'down', 'down.past', 'users'].map((ending) => `witness.${ending}`);

const MODES = { private: 0o600, readable: 0o644, public: 0o777, closed: 0 };

export const fileRows: readonly Row[] = [
  {
    name: "with another user's files in the state folder each call works or says what is wrong, and the next ones work",
    laws: [4, 6, 8],
    attempts: 40,
    attack: (attack) => attack.rounds((round) => giveFilesAway(attack, round)),
  },
  {
    name: 'with links in the place of its files each call works or says what is wrong, nothing behind them is touched',
    laws: [4, 6, 8],
    attempts: 80,
    attack: (attack) => attack.rounds((round) => putLinks(attack, round)),
  },
];

async function giveFilesAway(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const { stateDir } = server.spec;
  mkdirSync(stateDir, { mode: 0o700 });
  const powerless = await startPowerlessManager(round, { ...server.spec, startTimeoutMs: 1_000 });
  const files = [...FILES, 'logs', 'logs/witness.log'].map((name) => join(stateDir, name));
  await attemptWithFault(attack, round, {
    server,
    call: remoteCaller(powerless),
    methods: { start: 4, stop: 2, restart: 2, status: 2 },
    strike: (stranger) => {
      for (const path of files.filter(() => attack.random.next() < 0.4)) {
        if (!existsSync(path) && existsSync(dirname(path)) && basename(path) !== 'logs') {
          writeFileSync(path, path.endsWith('.pid') ? recordOf(stranger) : '');
        }
        if (!existsSync(path)) continue;
        chownSync(path, asNobody.uid, asNobody.gid);
        chmodSync(path, MODES[attack.random.weighted({ private: 2, readable: 2, public: 2, closed: 1 })]);
      }
    },
    lift: () => {
      for (const path of files.filter(existsSync)) {
        chownSync(path, 0, 0);
        chmodSync(path, basename(path) === 'logs' ? 0o700 : 0o600);
      }
    },
  });
}

async function putLinks(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const { stateDir } = server.spec;
  const outside = join(dirname(stateDir), 'outside');
  mkdirSync(join(outside, 'folder'), { recursive: true });
  const treasure = join(outside, 'treasure');
  const chosen = [...FILES, 'logs', 'logs/witness.log']
    .filter(() => attack.random.next() < 0.4)
    .map((name) => ({
      path: join(stateDir, name),
      target: attack.random.weighted({ dangling: 1, treasure: 2, folder: 1, loop: 1 }),
    }));
  let before = '';
  await attemptWithFault(attack, round, {
    server,
    strike: (stranger) => {
      writeFileSync(treasure, recordOf(stranger), { mode: 0o600 });
      before = facts(treasure);
      mkdirSync(join(stateDir, 'logs'), { recursive: true });
      for (const { path, target } of chosen) {
        if (!existsSync(dirname(path))) continue;
        if (existsSync(path)) renameSync(path, `${path}.aside`);
        symlinkSync(target === 'loop' ? path : join(outside, target), path);
      }
    },
    lift: () => {
      // The folder first: a log may lie in it.
      for (const { path } of chosen.toSorted((one, other) => one.path.length - other.path.length)) putBack(path);
      if (facts(treasure) !== before)
        throw new Error(`what a link led to was changed: ${before}, now ${facts(treasure)}`);
      const made = readdirSync(outside).filter((name) => !['folder', 'treasure'].includes(name));
      if (made.length > 0) throw new Error(`made where a link led to: ${made}`);
    },
  });
}

/** Whatever was made in the place of the link stays, but for a folder. */
function putBack(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(path);
  const aside = `${path}.aside`;
  if (!existsSync(aside)) return;
  if (existsSync(path)) rmSync(aside, { recursive: true });
  else renameSync(aside, path);
}

function recordOf(pid: number): string {
  return `${pid}\nsleep\n${startSecond(pid)}\n`;
}

function facts(path: string): string {
  const { ino, mode, uid, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
  return [ino, mode, uid, mtimeNs, ctimeNs, readFileSync(path, 'utf8')].join(' ');
}
