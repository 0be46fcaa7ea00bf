/**
 * The breaks of `npm run campaign:broken`: each is one change of the sources that must make the named rows of the campaign report a
 * violation. There is one for each law and row, and one break serves all the rows that can notice it. A break is found by a pattern
 * that must match exactly once in its file. Each pattern names what the break is about, not the whole line: a local variable that
 * is renamed or a line that is wrapped keeps it.
 */
// @ts-check
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Break
 * @property {readonly number[]} laws the laws that the changed library breaks
 * @property {string} breaks what the changed library does
 * @property {string} file
 * @property {RegExp} pattern
 * @property {string} replacement as String.replace() takes it
 * @property {Readonly<Record<string, number>>} rows the rows that must notice it, by a part of the name that no other row has, with the
 *   share of the campaign that is enough to notice
 */

/** @type {readonly Break[]} */
export const breaks = [
  {
    laws: [1],
    breaks: 'an acquire takes a shared lock',
    file: 'src/lock/flock.ts',
    pattern: /\bex: \['exnb'\]/,
    replacement: "ex: ['shnb']",
    rows: {
      'of 2 contenders exactly one gets the lock': 0.005,
      'of 4 contenders': 0.005,
      'of 8 contenders': 0.005,
      'of 16 contenders': 0.005,
      'of 6 waiting contenders': 0.02,
      'a supervisor suspended': 0.5,
      'slow to listen': 0.05,
      'slow to end': 0.05,
    },
  },
  {
    laws: [1],
    breaks: 'flock(1) takes a shared lock',
    file: 'src/lock/flock-helpers.ts',
    pattern: /\bex: \['-n', '-x'/,
    replacement: "ex: ['-n', '-s'",
    rows: { 'with flock instead': 0.02 },
  },
  {
    laws: [1],
    breaks: 'perl takes a shared lock',
    file: 'src/lock/flock-helpers.ts',
    pattern: /\bex: \[\.\.\.PERL, '6'\]/,
    replacement: "ex: [...PERL, '5']",
    rows: { 'with perl instead': 0.02 },
  },
  {
    laws: [1, 3],
    breaks: 'a process that only calls isLocked() counts as a holder',
    file: 'src/lock/file-lock.ts',
    pattern: /return 'shared lock'/,
    replacement: "return 'holder'",
    rows: {
      'of 2 contenders exactly one gets the lock while': 0.3,
      'while another process keeps calling': 0.05,
      'fails while 4 processes keep calling': 0.02,
    },
  },
  {
    laws: [3],
    breaks: 'isLocked() tries to take an exclusive lock',
    file: 'src/lock/flock.ts',
    pattern: /\bquestion: \['shnb'/,
    replacement: "question: ['exnb'",
    rows: { 'report one another as holders': 0.02, 'suspended inside isLocked()': 1 },
  },
  {
    laws: [1],
    breaks: 'isIntact() does not compare the locked file with the file at the path',
    file: 'src/lock/held-lock.ts',
    pattern: /\bheld && isSameFile\(\w+, \w+\)/,
    replacement: 'held',
    rows: { 'deleted, replaced and renamed': 0.02 },
  },
  {
    laws: [1],
    breaks: 'the lock of a file that is no longer at the path is accepted',
    file: 'src/lock/file-lock.ts',
    pattern: /isSameFile\(\w+, \w+\) \? 'locked' : 'replaced'/,
    replacement: "'locked'",
    rows: { 'replaced after it was opened': 0.02 },
  },
  {
    laws: [1, 6],
    breaks: 'a lock file that exists counts as locked',
    file: 'src/lock/questions.ts',
    pattern: /!canLockShared\(\w+\)/,
    replacement: 'true',
    rows: { 'leaves the lock free': 0.02 },
  },
  {
    laws: [8],
    breaks: 'a held lock is reported as free',
    file: 'src/lock/questions.ts',
    pattern: /!canLockShared\(\w+\)/,
    replacement: 'false',
    rows: { 'a suspended holder': 0.02 },
  },
  {
    laws: [6],
    breaks: 'the temporary file from which a journal is created is not deleted',
    file: 'src/state/journal.ts',
    pattern: /rmSync\(draft\b[^;]*;/,
    replacement: '',
    rows: { 'on a full disk': 0.2, 'free inodes': 0.2 },
  },
  {
    laws: [6, 8],
    breaks: 'a PID file that cannot be written makes a start fail',
    file: 'src/state/pid-file.ts',
    pattern: /catch \((\w+)\) \{\s*log\('cannot write %s[^;]*;/,
    replacement: 'catch ($1) { throw $1;',
    rows: { 'on a full disk': 1, 'a PID file of any content': 1 },
  },
  {
    laws: [5, 6],
    breaks: 'a stop that cannot be recorded stops nothing',
    file: 'src/stop/stop.ts',
    pattern: /catch \((\w+)\) \{\s*await bringDown\([^;]*;/,
    replacement: 'catch ($1) { throw $1;',
    rows: { 'remounted read-only': 1, "another user's files": 1 },
  },
  {
    laws: [8],
    breaks: 'isLocked() opens the lock file for writing',
    file: 'src/lock/questions.ts',
    pattern: /(function isLocked\(.*?)constants\.O_RDONLY/s,
    replacement: '$1constants.O_RDWR',
    rows: { 'remounted read-only': 1 },
  },
  {
    laws: [8],
    breaks: 'a lock file that cannot be opened is reported as free',
    file: 'src/lock/lock-file.ts',
    pattern: /errorCode\((\w+)\) !== 'ENOENT'/,
    replacement: 'errorCode($1) === undefined',
    rows: { 'without write permission': 1, 'under another user ID': 1 },
  },
  {
    laws: [6],
    breaks: 'a start does not release the lock of its port',
    file: 'src/start/launch.ts',
    pattern: /\w+\?\.handOver\(\);/,
    replacement: '',
    rows: { 'free descriptors': 0.4, 'more processes': 1 },
  },
  {
    laws: [4, 8],
    breaks: 'symbolic links in place of state files are followed',
    file: 'src/support/files.ts',
    pattern: /\| constants\.O_NOFOLLOW \| constants\.O_NOCTTY/,
    replacement: '| constants.O_NOCTTY',
    rows: { 'links in place of the state files': 0.5 },
  },
  {
    laws: [1, 6],
    breaks: 'a failed start leaves the process that it spawned running',
    file: 'src/start/launch.ts',
    pattern: /await abandon\([^;]*;/,
    replacement: '',
    rows: { 'deleted during a start': 0.6 },
  },
  {
    laws: [5],
    breaks: 'time limits are measured with the wall clock, which can be set',
    file: 'src/support/deadline.ts',
    pattern: /Math\.max\(0, this\.#(\w+) - now\(\)\)/,
    replacement: 'Math.max(0, this.#$1 - (Date.now() - performance.timeOrigin))',
    rows: { 'a clock that jumps': 1 },
  },
  {
    laws: [4, 6],
    breaks: 'a process counts as a stranger if its start time differs from the wall-clock time in the journal',
    file: 'src/inspect/holder.ts',
    pattern: /(function identify\(.*?const (\w+) = namedProcess\((\w+)\);)/s,
    replacement: `$1
      if ($2 !== undefined && Math.abs(processTable().startTime($2) - Date.parse(String($3.spawned?.at)) / 1_000) > 3)
        return { kind: 'strangers', members: [$2] };`,
    rows: { 'a boot time that jumps': 1 },
  },
  {
    laws: [5, 6],
    breaks: 'the ages of processes are computed with a clock that stops while the machine sleeps',
    file: 'src/system/process-table-linux.ts',
    pattern: /return \w+ \+ uptimeBeganMs;/,
    replacement: 'return ownStartMs + uptime() * 1000;',
    rows: { 'the machine has slept': 0.5 },
  },
  {
    laws: [7],
    breaks: 'the watcher never notices that its owner has ended',
    file: 'src/start/watcher.sh',
    pattern: /while read -r \w+ <&4; do :; done/,
    replacement: 'while :; do sleep 60; done',
    rows: { 'a tied process never outlives': 0.02 },
  },
  {
    laws: [7],
    breaks: 'a shared process that lost its watcher is left running by its last user',
    file: 'src/testing/start-shared.ts',
    pattern: /identify\(([^)]*)\)\.kind !== 'strangers'/,
    replacement: "identify($1).kind === 'leftovers'",
    rows: { 'whose watcher was killed': 0.5 },
  },
  {
    laws: [6],
    breaks: 'a start does not close the log',
    file: 'src/start/spawn.ts',
    pattern: /\[output\?\.fd, (\w+)\]/,
    replacement: '[$1]',
    rows: { '50 managers': 0.005 },
  },
  {
    laws: [6],
    breaks: 'a start whose starter is dead counts as still in progress',
    file: 'src/inspect/status.ts',
    pattern: /return !\w+ \|\| starterAtWork\([^;]*;/,
    replacement: 'return false;',
    rows: { 'a starter killed': 0.3, 'a supervisor killed': 0.5 },
  },
  {
    laws: [6],
    breaks: 'a start does not finish the stop that a dead stopper or restarter began',
    file: 'src/start/join.ts',
    pattern: /\(await end\([^;]*?'not-running'/,
    replacement: 'end !== undefined',
    rows: { 'a stopper killed': 0.4, 'a restarter killed': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a start does not notice that its server is dead',
    file: 'src/start/wait-until-ready.ts',
    pattern: /(\w+) = (\w+) \?\? \(await findSuccessor\(\)\)/,
    replacement: '$1 = $2 ?? $1',
    rows: { 'a server killed': 0.4 },
  },
  {
    laws: [5, 6],
    breaks: 'a tied process without a watcher counts as one that lost its owner',
    file: 'src/inspect/watcher.ts',
    pattern: /return (watchersOf\([^;]*) === false\);/,
    replacement: 'return !$1);',
    rows: { 'the watcher of a tied server killed': 0.6, 'the watcher of a tied server suspended': 1 },
  },
  {
    laws: [5],
    breaks: 'a start that holds the lock ignores a stop',
    file: 'src/start/launch.ts',
    pattern: /if \(checkWanted\([^;]*\.isPending\) throw [^;]*;/,
    replacement: '',
    rows: { 'a starter suspended': 1 },
  },
  {
    laws: [5],
    breaks: 'a start waits for a stop whose stopper is dead',
    file: 'src/start/join.ts',
    pattern: /\(await waitForStopAtWork\(\w+\)\)/,
    replacement: 'Date.now() > 0',
    rows: { 'a stopper suspended': 1 },
  },
  {
    laws: [5],
    breaks: 'a start takes a restart for a stop',
    file: 'src/state/journal-state.ts',
    pattern: /placeOf\('stop'\) >= offsetOf\(/,
    replacement: "Math.max(placeOf('stop'), placeOf('restart')) >= offsetOf(",
    rows: { 'a restarter suspended': 1 },
  },
  {
    laws: [5, 6],
    breaks: 'a suspended server is not continued after its signal',
    file: 'src/stop/terminate.ts',
    pattern: /\w+\.send\('SIGCONT'\);/,
    replacement: 'undefined;',
    rows: { 'a server suspended': 1 },
  },
  {
    laws: [2],
    breaks: 'a process that has put itself into the background is not adopted',
    file: 'src/inspect/holder.ts',
    pattern: /bestMatch\(\w+, \w+\) \?\? oldest\(\w+\)/,
    replacement: 'undefined as ProcessInfo | undefined',
    rows: { 'puts itself into the background': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a server that ignores the stop signal is never killed',
    file: 'src/stop/terminate.ts',
    pattern: /Math\.min\(\w+, (\w+\.remainingMs)\)/,
    replacement: '$1',
    rows: { 'ignores the stop signal': 0.05 },
  },
  {
    laws: [2],
    breaks: 'a server that has closed the descriptor of the lock is accepted',
    file: 'src/start/wait-until-ready.ts',
    pattern: /if \(\w+ === true\) return (\w+);/,
    replacement: 'if ($1.pid > 0) return $1;',
    rows: { 'closes its descriptors': 0.05 },
  },
  {
    laws: [8],
    breaks: 'logTail() returns more lines than were asked for',
    file: 'src/state/log-file.ts',
    pattern: /split\('\\n'\)\.slice\(-\w+\)/,
    replacement: "split('\\n')",
    rows: { 'floods its log': 0.1 },
  },
  {
    laws: [5],
    breaks: 'a start fails 8 s after its time limit',
    file: 'src/start/launch.ts',
    pattern: /Deadline\.after\((\w+\.startTimeoutMs)\)/,
    replacement: 'Deadline.after($1 + 8_000)',
    rows: { 'never becomes ready': 0.04 },
  },
  {
    laws: [5],
    breaks: 'a health check passes with any result',
    file: 'src/inspect/checks.ts',
    pattern: /if \((\w+) !== true\)/,
    replacement: 'if ($1 === undefined)',
    rows: { 'fails its health check': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a server is reported as ready before it has passed its checks',
    file: 'src/start/wait-until-ready.ts',
    pattern: /\w+ \? await lookAgainAside\((\w+)\) : undefined([\s\S]*?)isOurs \|\|/,
    replacement: '$1.pid > 0 ? $1 : undefined$2isOurs || $1.pid > 0 ||',
    rows: { 'dies at a random instant': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a process whose name differs from its command is not reported as running',
    file: 'src/inspect/status.ts',
    pattern: /\w+ \? 'running' : \w+ \? 'starting'/,
    replacement: 'processTable().commandNames(process.pid).some((name) => spec.command.endsWith(name)) && $&',
    rows: { 'becomes another program': 0.2 },
  },
  {
    laws: [2],
    breaks: 'a hand-over unlocks the lock',
    file: 'src/lock/held-lock.ts',
    pattern: /if \(\w+ === 'released'\) (?=asLockUnavailable)/,
    replacement: '',
    rows: { 'when the last member of the family ends': 0.02 },
  },
  {
    laws: [2, 6],
    breaks: 'survivors are not recognized as survivors',
    file: 'src/inspect/holder.ts',
    pattern: /= \w+ && namedProcess\(\w+\) === undefined/,
    replacement: '= false as boolean',
    rows: { 'survivors of a dead server': 0.5 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'the processes that a dead wrapper has left are ignored',
    file: 'src/inspect/holder.ts',
    pattern: /return sessionMembers\([^;]*;/,
    replacement: 'return [] as ProcessInfo[];',
    rows: { 'left by a killed wrapper': 0.3 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'a process whose descriptors cannot be read counts as dead',
    file: 'src/inspect/holder.ts',
    pattern: /if \((\w+) && isOfSpawn\((\w+),[^{]*\{/,
    replacement: 'if ($1 && $2.pid < 0) {',
    rows: { 'cannot be inspected': 0.3 },
  },
  {
    laws: [6],
    breaks: 'a follower reads only the last of several rotated logs',
    file: 'src/state/follow-log.ts',
    pattern: /\bnext = path;/,
    replacement: '',
    rows: { 'a follower gets each line': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a stop is not recorded in the journal',
    file: 'src/stop/stop.ts',
    pattern: /await (\w+)\.workOn\('stop'\)/,
    replacement: '{ place: $1.readIfReadable().endPlace, isRewritten: false, release() {} }',
    rows: { 'a supervised process runs': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a supervisor does not start the process again after a crash',
    file: 'src/supervise/supervisor.ts',
    pattern: /if \(now\(\) >= (this\.#\w+)\) await this\.#start\(\)/,
    replacement: 'if ($1 < 0) await this.#start()',
    rows: { 'a supervised process runs': 0.05 },
  },
  {
    laws: [4],
    breaks: 'the process that the PID file names is taken for the managed one',
    file: 'src/inspect/status.ts',
    pattern: /const (\w+) = leftBehind\((\w+)\)/,
    replacement: 'const $1 = [...leftBehind($2), ...processTable().list().filter((it) => isNamedIn($2.pidFile, it))]',
    rows: { 'a PID file of any content': 1, 'written in another boot': 0.5 },
  },
  {
    laws: [4],
    breaks: 'any process with the PID of the last spawn is taken for the spawned process',
    file: 'src/inspect/holder.ts',
    pattern: /\w+ \? undefined : lookAgain\((\w+)\)/,
    replacement: 'processTable().lookUp($1.pid)',
    rows: { 'the reused PID of a dead server': 0.3 },
  },
  {
    laws: [4],
    breaks: 'a process group is signalled although its ID was reused',
    file: 'src/stop/terminate.ts',
    pattern: /\w+ \? \[\] : (?=\w+\.leftOf\()/,
    replacement: '',
    rows: { 'reused during a stop': 1 },
  },
  {
    laws: [1, 4],
    breaks: 'a start does not check whether a predecessor runs',
    file: 'src/start/launch.ts',
    pattern: /await refusePredecessor\([^;]*;/,
    replacement: '',
    rows: { 'an older tool': 0.1 },
  },
  {
    laws: [1, 2, 4, 5, 6],
    breaks: 'a stop also signals the group of a process that called become()',
    file: 'src/inspect/holder.ts',
    pattern: /(\w+) && hasBecome \? \{[^}]*\} : \w+/,
    replacement: '$1',
    rows: { 'that calls become()': 0.1 },
  },
  {
    laws: [1, 7],
    breaks: 'each user that leaves ends the shared process, even if it has other users',
    file: 'src/state/users.ts',
    pattern: /(\w+) = tryLockUsers\([^;]*;/,
    replacement: 'await end(); $1 = 6;',
    rows: {
      'never ends before its last user': 0.1,
      'after a shared server crashes': 0.2,
      'at which the last user leaves': 0.2,
    },
  },
  {
    laws: [7],
    breaks: 'the watcher never notices that the last user has left or died',
    file: 'src/start/watcher.sh',
    pattern: /\*\) "\$waiter" "\$1" 4 ;;/,
    replacement: '*) sleep 60 ;;',
    rows: { 'after all its users are killed': 0.1 },
  },
  {
    laws: [7],
    breaks: 'a watcher does not check after the linger time whether a user has joined',
    file: 'src/start/watcher.sh',
    pattern: /lock_users -u 8/,
    replacement: '$&; sleep 0.4; break',
    rows: { 'at any instant of the linger time': 0.2 },
  },
  {
    laws: [5],
    breaks: 'a process with another spec is returned as if it had the same spec',
    file: 'src/state/drift.ts',
    pattern: /(\w+)\[(\w+)\] !== (\w+)\[\2\]/,
    replacement: "$1 === $3 && $2 === ''",
    rows: { 'starts with a newer spec': 0.05 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'a process that runs is reported as stopped',
    file: 'src/inspect/status.ts',
    pattern: /!isSeenHeld\((\w+)\) && !isLocked\(/,
    replacement: 'isSeenHeld($1) || !isLocked(',
    rows: { 'examples/stack.mjs': 0.04 },
  },
];

/** @param {string} text @param {Break} build @throws Error unless the pattern matches exactly once and changes the text */
export function applyBreak(text, { file, pattern, replacement }) {
  const found = [...text.matchAll(new RegExp(pattern, `${pattern.flags}g`))].length;
  if (found !== 1) throw new Error(`${pattern} matches ${found === 0 ? 'nothing' : `${found} times`} in ${file}`);
  const broken = text.replace(pattern, replacement);
  if (broken === text) throw new Error(`${pattern} is replaced by what is there already in ${file}`);
  return broken;
}

/** @returns {string[]} what is wrong with the patterns: nothing, if each matches exactly once */
export function findWrongPatterns() {
  return breaks.flatMap((each) => {
    try {
      applyBreak(readFileSync(fileURLToPath(new URL(`../${each.file}`, import.meta.url)), 'utf8'), each);
      return [];
    } catch (error) {
      return [`"${each.breaks}": ${error instanceof Error ? error.message : error}`];
    }
  });
}
