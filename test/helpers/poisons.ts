/** Contents and file types that can be in the place of a PID file, by what they are. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Bystanders } from './bystanders.js';
import { startSecond } from './evidence.js';

type Test = Pick<TestContext, 'after'>;

export interface Place {
  pidFile: string;
  /** The managed process; when it is stopped, the process that was managed. */
  own: { pid: number; startTime: number; threadId: number };
  bystanders: Bystanders;
}

type Poison = string | Buffer | ((path: string, place: Place, t: Test) => void | Promise<void>);

const lines = (...values: (string | number)[]) => `${values.join('\n')}\n`;

const texts: Record<string, (place: Place) => string | Buffer> = {
  '1': () => '1\n',
  '0': () => '0\n',
  '-1': () => '-1\n',
  abc: () => 'abc\n',
  nothing: () => '',
  'white space alone': () => ' \t\r\n\n  \n',
  '10 MB of noise': () => Buffer.alloc(10_000_000, 'noise 7\n'),
  '10 MB of digits': () => Buffer.alloc(10_000_000, '7'),
  'NUL bytes': () => Buffer.alloc(64),
  'a PID among NUL bytes': ({ bystanders: { plain } }) => `${plain.pid}\0\0\0\nredis-server\n`,
  'a PID after 2 KB of white space': ({ bystanders: { plain } }) => `${' '.repeat(2048)}${plain.pid}\n`,
  'a huge number': () => '99999999999999999999999\n',
  'the first number that is no PID': () => lines(2 ** 31),
  'a PID, 32 bits too high': ({ bystanders: { plain } }) => lines(2 ** 32 + plain.pid, 'redis-server', plain.startTime),
  'a PID in hex': ({ bystanders: { plain } }) => lines(`0x${plain.pid.toString(16)}`),
  'a PID with a minus': ({ bystanders: { plain } }) => lines(`-${plain.pid}`, 'redis-server', plain.startTime),
  'a PID with a plus': ({ bystanders: { plain } }) => lines(`+${plain.pid}`, 'redis-server', plain.startTime),
  'a PID with a fraction': ({ bystanders: { plain } }) => lines(`${plain.pid}.5`),
  'two PIDs in a line': ({ bystanders: { plain, managed } }) => lines(`${plain.pid} ${managed.pid}`),
  'a PID in UTF-16': ({ bystanders: { plain } }) => Buffer.from(lines(plain.pid), 'utf16le'),
  'init, with its start time': () => lines(1, 'init', startSecond(1)),
  'the PID of the test': () => lines(process.pid),
  'the PID of the test, with its start time': () => lines(process.pid, 'redis-server', startSecond(process.pid)),
  'the PID of the parent of the test': () => lines(process.ppid, 'redis-server', startSecond(process.ppid)),
  'the PID of a zombie': ({ bystanders }) => lines(bystanders.zombie, 'redis-server'),
  'the PID of a dead process': ({ bystanders }) => lines(bystanders.dead, 'redis-server', 1_700_000_000),
  'the PID of a kernel thread': ({ bystanders }) => lines(bystanders.kernelThread),
  "a lone PID, a stranger's redis-server": ({ bystanders: { plain } }) => lines(plain.pid),
  "a stranger's redis-server with its name": ({ bystanders: { plain } }) => lines(plain.pid, 'redis-server'),
  "a stranger's redis-server with name and start time": ({ bystanders: { plain } }) =>
    lines(plain.pid, 'redis-server', plain.startTime),
  "a thread of a stranger's redis-server": ({ bystanders: { plain } }) => lines(plain.threadId, 'redis-server'),
  "another manager's lone PID": ({ bystanders: { managed } }) => lines(managed.pid),
  "another manager's record": ({ bystanders: { managed } }) => readFileSync(managed.pidFile),
  'the right record with CRLF': ({ own }) => `${own.pid}\r\nredis-server\r\n${own.startTime}\r\n`,
  'the right PID alone': ({ own }) => lines(own.pid),
  'the right PID without a line end': ({ own }) => String(own.pid),
  'the right PID with leading zeros': ({ own }) => lines(`000${own.pid}`),
  'the right PID with a wrong start time': ({ own }) => lines(own.pid, 'redis-server', own.startTime - 1000),
  'the right PID with a start time that is none': ({ own }) => lines(own.pid, 'redis-server', 'yesterday'),
  'the right PID with a start time to come': ({ own }) => lines(own.pid, 'redis-server', own.startTime + 10 ** 6),
  'the right PID with a wrong name': ({ own }) => lines(own.pid, '../../bin/sh -c "exit"', own.startTime),
  'half of the right PID': ({ own }) => String(own.pid).slice(0, -2),
  'a thread of the right process': ({ own }) => lines(own.threadId),
  'the right PID from before a boot': ({ own }) => lines(own.pid, 'redis-server', 1),
};

const things: Record<string, Exclude<Poison, string | Buffer>> = {
  'a folder': (path) => void mkdirSync(path),
  'a folder with something in it': (path) => {
    mkdirSync(path);
    writeFileSync(join(path, 'file'), 'kept');
  },
  'a dangling link': (path) => symlinkSync(`${path}.missing`, path),
  'a link to itself': (path) => symlinkSync(path, path),
  "a link to another manager's record": (path, { bystanders: { managed } }) => symlinkSync(managed.pidFile, path),
  "a hard link of another manager's record": (path, { bystanders: { managed } }) => linkSync(managed.pidFile, path),
  'a link to a treasure': (path, { bystanders }) => symlinkSync(bystanders.treasure, path),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a FIFO': (path) => void execFileSync('mkfifo', [path]),
  'a socket': async (path, _, t) => {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(path, listening));
    t.after(() => server.close());
  },
  'a file of 1 TB': (path) => {
    writeFileSync(path, '');
    truncateSync(path, 1e12);
  },
  'a file that nobody may read': (path, { bystanders: { plain } }) => {
    writeFileSync(path, lines(plain.pid));
    chmodSync(path, 0);
  },
};

export const poisons: Record<string, (place: Place, t: Test) => Promise<void>> = Object.fromEntries([
  ...Object.entries(texts).map(([name, text]) => [
    name,
    async (place: Place) => {
      clear(place);
      writeFileSync(place.pidFile, text(place));
    },
  ]),
  ...Object.entries(things).map(([name, make]) => [
    name,
    async (place: Place, t: Test) => {
      clear(place);
      await make(place.pidFile, place, t);
    },
  ]),
]);

function clear({ pidFile }: Place): void {
  rmSync(pidFile, { recursive: true, force: true });
}
