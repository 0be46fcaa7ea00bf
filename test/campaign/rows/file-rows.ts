/** Attacks on the files in the state folder: another user owns them, or links are in their place. */
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
import { startRemoteManager } from '../../helpers/remote-manager.js';
import type { Attack, Round, Row } from '../attack.js';
import { ALL_BUT_SUPERVISE, attemptWithFault, callerOf, faultyServer, PYTHON_FOR_ALL } from './fault-attempt.js';

/** The names of all files that a state folder may have. */
const FILES = ['lock', 'pid', 'journal', 'users'].map((ending) => `witness.${ending}`);

const MODES = { private: 0o600, readable: 0o755, public: 0o777, closed: 0 };

export const fileRows: readonly Row[] = [
  {
    name: "with another user's files in the state folder each call succeeds or fails with a documented error, and calls succeed again afterwards",
    laws: [4, 6, 8],
    attempts: 20,
    attack: (attack) => attack.rounds((round) => giveFilesAway(attack, round)),
  },
  {
    name: 'under another user ID than that of the server each call succeeds or fails with a documented error, and ends no process',
    laws: [4, 6, 8],
    attempts: 20,
    attack: (attack) => attack.rounds((round) => beSomebodyElse(attack, round)),
  },
  {
    name: 'with symbolic links in place of the state files each call succeeds or fails with a documented error, and no target of a link is changed',
    laws: [4, 6, 8],
    attempts: 80,
    attack: (attack) => attack.rounds((round) => putLinks(attack, round)),
  },
];

async function giveFilesAway(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const { stateDir } = server.spec;
  mkdirSync(stateDir, { mode: 0o700 });
  const powerless = await startPowerlessManager(round, server.spec);
  const files = [...FILES, 'logs', 'logs/witness.log'].map((name) => join(stateDir, name));
  await attemptWithFault(attack, round, {
    server,
    prepare: callerOf(powerless),
    call: callerOf(powerless),
    methods: ALL_BUT_SUPERVISE,
    strike: (stranger) => {
      for (const path of files.filter(() => attack.random.next() < 0.4)) {
        const isMissing = !existsSync(path) && basename(path) !== 'logs' && existsSync(dirname(path));
        if (path.endsWith('.pid')) writeFileSync(path, recordOf(stranger));
        else if (isMissing) writeFileSync(path, '');
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

/** Makes the calls as a user who may read everything, but may not signal the server, which is root's. */
async function beSomebodyElse(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round, { command: PYTHON_FOR_ALL });
  const { stateDir } = server.spec;
  for (const folder of [attack.folder, dirname(stateDir)]) chmodSync(folder, 0o755);
  mkdirSync(stateDir, { mode: 0o700 });
  const spec = { ...server.spec, startTimeoutMs: 500 };
  const other = await startRemoteManager(round, spec, asNobody);
  await attemptWithFault(attack, round, {
    server,
    call: callerOf(other),
    methods: { start: 2, stop: 1, restart: 1, status: 4 },
    strike: () => {
      chmodSync(stateDir, MODES[attack.random.weighted({ public: 2, readable: 1, closed: 1 })]);
      for (const name of readdirSync(stateDir)) {
        const mode = attack.random.weighted({ private: 1, readable: 1, public: 1 });
        chmodSync(join(stateDir, name), MODES[mode]);
      }
    },
    lift: () => {
      other.kill();
      chmodSync(stateDir, 0o700);
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
        if (!lstatSync(dirname(path)).isDirectory()) continue;
        if (existsSync(path)) renameSync(path, `${path}.aside`);
        symlinkSync(target === 'loop' ? path : join(outside, target), path);
      }
    },
    lift: () => {
      // The folder comes first, because a log may be in it.
      for (const { path } of chosen.toSorted((one, other) => one.path.length - other.path.length)) putBack(path);
      if (facts(treasure) !== before)
        throw new Error(`what a link led to was changed: ${before}, now ${facts(treasure)}`);
      // A log may be anywhere: a link to it is followed, and its missing target is created.
      const isLogLinked = chosen.some(({ path, target }) => path.endsWith('.log') && target === 'dangling');
      const expected = ['folder', 'treasure', ...(isLogLinked ? ['dangling'] : [])];
      const made = readdirSync(outside).filter((name) => !expected.includes(name));
      if (made.length > 0) throw new Error(`made where a link led to: ${made}`);
    },
  });
}

/** A file that was made in the place of the link stays; a folder is removed. */
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
