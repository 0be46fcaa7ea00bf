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
      'of 6 that wait': 0.02,
      'a supervisor suspended': 0.5,
      'a server that needs a moment to listen': 0.05,
      'a server that needs a moment to end': 0.05,
    },
  },
  {
    laws: [1],
    breaks: 'flock(1) takes a shared lock',
    file: 'src/lock/flock-helpers.ts',
    pattern: /\bex: \['-n', '-x'/,
    replacement: "ex: ['-n', '-s'",
    rows: { 'through flock': 0.02 },
  },
  {
    laws: [1],
    breaks: 'perl takes a shared lock',
    file: 'src/lock/flock-helpers.ts',
    pattern: /\bex: \[\.\.\.PERL, '6'\]/,
    replacement: "ex: [...PERL, '5']",
    rows: { 'through perl': 0.02 },
  },
  {
    laws: [1, 3],
    breaks: 'a question counts as a holder',
    file: 'src/lock/file-lock.ts',
    pattern: /return 'shared lock'/,
    replacement: "return 'holder'",
    rows: {
      'of 2 contenders exactly one gets the lock while': 0.3,
      'while another one asks': 0.05,
      'fails while 4 others ask': 0.02,
    },
  },
  {
    laws: [3],
    breaks: 'a question asks for an exclusive lock',
    file: 'src/lock/flock.ts',
    pattern: /\bquestion: \['shnb'/,
    replacement: "question: ['exnb'",
    rows: { '4 that ask': 0.02, 'suspended while it asks': 1 },
  },
  {
    laws: [1],
    breaks: 'isIntact() does not look at the file',
    file: 'src/lock/held-lock.ts',
    pattern: /\bheld && isSameFile\(\w+, \w+\)/,
    replacement: 'held',
    rows: { 'deletes, replaces and renames': 0.02 },
  },
  {
    laws: [1],
    breaks: 'a file that is no longer at the path is locked',
    file: 'src/lock/file-lock.ts',
    pattern: /isSameFile\(\w+, \w+\) \? 'locked' : 'replaced'/,
    replacement: "'locked'",
    rows: { 'between its opening and its locking': 0.02 },
  },
  {
    laws: [1, 6],
    breaks: 'a lock file that exists counts as locked',
    file: 'src/lock/questions.ts',
    pattern: /!canLockShared\(\w+\)/,
    replacement: 'true',
    rows: { 'at the end of its holder': 0.02 },
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
    breaks: 'the draft of a journal stays',
    file: 'src/state/journal.ts',
    pattern: /rmSync\(draft\b[^;]*;/,
    replacement: '',
    rows: { 'on a full disk': 0.2, 'without room for another file': 0.2 },
  },
  {
    laws: [6, 8],
    breaks: 'a PID file that cannot be written makes a start fail',
    file: 'src/state/pid-file.ts',
    pattern: /catch \((\w+)\) \{\s*log\('cannot write %s[^;]*;/,
    replacement: 'catch ($1) { throw $1;',
    rows: { 'on a full disk': 1, 'a poisoned PID file': 1 },
  },
  {
    laws: [5, 6],
    breaks: 'a stop that cannot be recorded stops nothing',
    file: 'src/stop/stop.ts',
    pattern: /catch \((\w+)\) \{\s*await bringDown\([^;]*;/,
    replacement: 'catch ($1) { throw $1;',
    rows: { 'became read-only': 1 },
  },
  {
    laws: [8],
    breaks: 'isLocked() opens the lock file for writing',
    file: 'src/lock/questions.ts',
    pattern: /(function isLocked\(.*?)constants\.O_RDONLY/s,
    replacement: '$1constants.O_RDWR',
    rows: { 'became read-only': 1 },
  },
  {
    laws: [8],
    breaks: 'a lock file that cannot be opened is reported as free',
    file: 'src/lock/lock-file.ts',
    pattern: /errorCode\((\w+)\) !== 'ENOENT'/,
    replacement: 'errorCode($1) === undefined',
    rows: { 'may not be written to': 1, "another user's files": 1, 'by another user than': 1 },
  },
  {
    laws: [6],
    breaks: 'a start keeps the lock of its port',
    file: 'src/start/launch.ts',
    pattern: /\w+\?\.handOver\(\);/,
    replacement: '',
    rows: { 'any number of descriptors': 0.4, 'no process can be made': 1 },
  },
  {
    laws: [4, 8],
    breaks: 'links are followed',
    file: 'src/support/files.ts',
    pattern: /\| constants\.O_NOFOLLOW \| constants\.O_NOCTTY/,
    replacement: '| constants.O_NOCTTY',
    rows: { 'links in the place of its files': 0.5 },
  },
  {
    laws: [1, 6],
    breaks: 'a failed start leaves the process that it spawned',
    file: 'src/start/launch.ts',
    pattern: /await abandon\([^;]*;/,
    replacement: '',
    rows: { 'deleted in the middle of a start': 0.6 },
  },
  {
    laws: [5],
    breaks: 'time limits are measured with the clock that can be set',
    file: 'src/support/deadline.ts',
    pattern: /Math\.max\(0, this\.#(\w+) - now\(\)\)/,
    replacement: 'Math.max(0, this.#$1 - (Date.now() - performance.timeOrigin))',
    rows: { 'a clock that jumps': 1 },
  },
  {
    laws: [4, 6],
    breaks: 'a process whose start time differs from that of the journal by the clock is a stranger',
    file: 'src/inspect/holder.ts',
    pattern: /(function identify\(.*?const (\w+) = namedProcess\((\w+)\);)/s,
    replacement: `$1
      if ($2 !== undefined && Math.abs(processTable().startTime($2) - Date.parse(String($3.spawned?.at)) / 1_000) > 3)
        return { kind: 'strangers', members: [$2] };`,
    rows: { 'a time of boot that jumps': 1 },
  },
  {
    laws: [5, 6],
    breaks: 'ages are computed with the clock that stands still while the machine sleeps',
    file: 'src/system/process-table-linux.ts',
    pattern: /return \w+ \+ uptimeBeganMs;/,
    replacement: 'return ownStartMs + uptime() * 1000;',
    rows: { 'a machine that sleeps': 0.5 },
  },
  {
    laws: [7],
    breaks: 'the watcher never notices the end of its owner',
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
    rows: { 'with its watcher killed': 0.5 },
  },
  {
    laws: [6],
    breaks: 'a start leaves the log open',
    file: 'src/start/spawn.ts',
    pattern: /\[output\?\.fd, (\w+)\]/,
    replacement: '[$1]',
    rows: { '50 managers': 0.005 },
  },
  {
    laws: [6],
    breaks: 'a start whose starter is dead counts as still at work',
    file: 'src/start/join.ts',
    pattern: /return !\w+ \|\| !lockCarriers\([^;]*;/,
    replacement: 'return false;',
    rows: { 'a starter killed': 0.3, 'a supervisor killed': 0.5 },
  },
  {
    laws: [6],
    breaks: 'a start does not end what a dead stopper or restarter was ending',
    file: 'src/start/join.ts',
    pattern: /\(await end\([^;]*?'not-running'/,
    replacement: 'end !== undefined',
    rows: { 'a stopper killed': 0.4, 'a restarter killed': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a start does not see that its server is dead',
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
    breaks: 'a start that has the lock ignores a stop',
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
    replacement: '',
    rows: { 'a server suspended': 1 },
  },
  {
    laws: [2],
    breaks: 'no process is adopted',
    file: 'src/inspect/holder.ts',
    pattern: /bestMatch\(\w+, \w+\) \?\? oldest\(\w+\)/,
    replacement: 'undefined as ProcessInfo | undefined',
    rows: { 'puts itself into the background': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a server is asked to end, and never forced',
    file: 'src/stop/terminate.ts',
    pattern: /Math\.min\(\w+, (\w+\.remainingMs)\)/,
    replacement: '$1',
    rows: { 'ignores the stop signal': 0.05 },
  },
  {
    laws: [2],
    breaks: 'a server that dropped its lock is accepted',
    file: 'src/start/wait-until-ready.ts',
    pattern: /if \(\w+ === true\) return (\w+);/,
    replacement: 'if ($1.pid > 0) return $1;',
    rows: { 'closes its descriptors': 0.05 },
  },
  {
    laws: [8],
    breaks: 'the whole log is reported, not its last lines',
    file: 'src/state/log-file.ts',
    pattern: /split\('\\n'\)\.slice\(-\w+\)/,
    replacement: "split('\\n')",
    rows: { 'floods its log': 0.1 },
  },
  {
    laws: [5],
    breaks: 'a start takes longer than its limit',
    file: 'src/start/launch.ts',
    pattern: /Deadline\.after\((\w+\.startTimeoutMs)\)/,
    replacement: 'Deadline.after($1 + 8_000)',
    rows: { 'never becomes ready': 0.04 },
  },
  {
    laws: [5],
    breaks: 'a health check passes with any answer',
    file: 'src/inspect/checks.ts',
    pattern: /if \((\w+) !== true\)/,
    replacement: 'if ($1 === undefined)',
    rows: { 'fails its health check': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a server is reported as ready before its checks were made',
    file: 'src/start/wait-until-ready.ts',
    pattern: /\w+ \? await lookAgainAside\((\w+)\) : undefined/,
    replacement: '$1.pid > 0 ? $1 : undefined',
    rows: { 'dies at a random instant': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a process with another name than its command is not running',
    file: 'src/inspect/status.ts',
    pattern: /\w+ \? 'running' : \w+ \? 'starting'/,
    replacement: 'processTable().commandNames(process.pid).some((name) => spec.command.endsWith(name)) && $&',
    rows: { 'becomes another program': 0.2 },
  },
  {
    laws: [2],
    breaks: 'a lock that is handed over is unlocked',
    file: 'src/lock/held-lock.ts',
    pattern: /if \(\w+ === 'released'\) (?=asLockUnavailable)/,
    replacement: '',
    rows: { 'when the last of a family is gone': 0.02 },
  },
  {
    laws: [2, 6],
    breaks: 'survivors are not known as such',
    file: 'src/inspect/holder.ts',
    pattern: /= \w+ && namedProcess\(\w+\) === undefined/,
    replacement: '= false as boolean',
    rows: { 'what is left of a family': 0.5 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'what a dead wrapper has left is ignored',
    file: 'src/inspect/holder.ts',
    pattern: /return sessionMembers\([^;]*;/,
    replacement: 'return [] as ProcessInfo[];',
    rows: { 'what a killed wrapper leaves': 0.3 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'a process whose descriptors cannot be seen counts as gone',
    file: 'src/inspect/holder.ts',
    pattern: /if \((\w+) && isOfSpawn\((\w+),[^{]*\{/,
    replacement: 'if ($1 && $2.pid < 0) {',
    rows: { 'cannot be looked at': 0.3 },
  },
  {
    laws: [6],
    breaks: 'of several logs that were moved away only the last is read',
    file: 'src/state/follow-log.ts',
    pattern: /\bnext = path;/,
    replacement: '',
    rows: { 'a log that is followed': 0.3 },
  },
  {
    laws: [5],
    breaks: 'a stop is not recorded',
    file: 'src/stop/stop.ts',
    pattern: /await (\w+)\.workOn\('stop'\)/,
    replacement: '{ place: $1.readIfReadable().endPlace, isRewritten: false, release() {} }',
    rows: { 'what is supervised': 0.05 },
  },
  {
    laws: [5],
    breaks: 'a crash is not followed by a start',
    file: 'src/supervise/supervisor.ts',
    pattern: /if \(now\(\) >= (this\.#\w+)\) await this\.#start\(\)/,
    replacement: 'if ($1 < 0) await this.#start()',
    rows: { 'what is supervised': 0.05 },
  },
  {
    laws: [4],
    breaks: 'the process that the PID file names is taken for the managed one',
    file: 'src/inspect/status.ts',
    pattern: /const \[(\w+)\] = leftBehind\((\w+)\)/,
    replacement: 'const $1 = leftBehind($2)[0] ?? processTable().list().find((it) => isNamedIn($2.pidFile, it))',
    rows: { 'a poisoned PID file': 1, 'a record of another boot': 0.5 },
  },
  {
    laws: [4],
    breaks: 'any process with the PID of the last spawn is taken for it',
    file: 'src/inspect/holder.ts',
    pattern: /\w+ \? undefined : lookAgain\((\w+)\)/,
    replacement: 'processTable().lookUp($1.pid)',
    rows: { 'the number of a dead server': 0.3 },
  },
  {
    laws: [4],
    breaks: 'a group is signalled although its number was reused',
    file: 'src/stop/terminate.ts',
    pattern: /\w+ \? \[\] : (?=\w+\.leftOf\()/,
    replacement: '',
    rows: { 'changes hands during a stop': 1 },
  },
  {
    laws: [1, 4],
    breaks: 'a start does not ask for a predecessor',
    file: 'src/start/launch.ts',
    pattern: /await refusePredecessor\([^;]*;/,
    replacement: '',
    rows: { 'an older tool': 0.1 },
  },
  {
    laws: [1, 2, 4, 5, 6],
    breaks: 'the group of what has become the process is signalled, too',
    file: 'src/inspect/holder.ts',
    pattern: /(\w+) && hasBecome \? \{[^}]*\} : \w+/,
    replacement: '$1',
    rows: { 'has become the managed one': 0.1 },
  },
  {
    laws: [1, 7],
    breaks: 'each user that leaves ends the process, whether there are others or not',
    file: 'src/state/users.ts',
    pattern: /(\w+) = tryLockUsers\([^;]*;/,
    replacement: 'await end(); $1 = 6;',
    rows: { 'never dies under a user': 0.1, 'crashes under its users': 0.2, 'a newcomer has a working server': 0.2 },
  },
  {
    laws: [7],
    breaks: 'the watcher never sees that the last user is gone',
    file: 'src/start/watcher.sh',
    pattern: /\*\) "\$waiter" "\$1" 4 ;;/,
    replacement: '*) sleep 60 ;;',
    rows: { 'who are killed, while they come': 0.1 },
  },
  {
    laws: [7],
    breaks: 'a watcher that has lingered does not ask whether a user has come',
    file: 'src/start/watcher.sh',
    pattern: /lock_users -u 8/,
    replacement: '$&; sleep 0.4; break',
    rows: { 'at any instant of a linger': 0.2 },
  },
  {
    laws: [5],
    breaks: 'a process with another spec is handed out as if it had the same',
    file: 'src/state/drift.ts',
    pattern: /(\w+)\[(\w+)\] !== (\w+)\[\2\]/,
    replacement: "$1 === $3 && $2 === ''",
    rows: { 'whoever wants another spec': 0.05 },
  },
  {
    laws: [1, 2, 5, 6],
    breaks: 'a process that runs is reported as stopped',
    file: 'src/inspect/status.ts',
    pattern: /!isSeenHeld\((\w+)\) && !isLocked\(/,
    replacement: 'isSeenHeld($1) || !isLocked(',
    rows: { 'stack in the examples': 0.04 },
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
