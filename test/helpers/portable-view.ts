/** The processes as ps(1) and lsof(1) report them, for the helpers that read /proc where it exists. */
import { spawnSync } from 'node:child_process';

/** There is no /proc on macOS, nor where a test run hides it and pretends to be macOS (fixtures/on-darwin.cjs). */
export const hasProc = process.platform === 'linux';

export interface Listed {
  readonly pid: number;
  /**
   * The fields of /proc/PID/stat from the third one on that ps(1) reports too: state, parent, group, and the start time
   * as text.
   */
  readonly fields: string[];
  /** The words of /proc/PID/cmdline; a blank inside a word looks like the end of the word. */
  readonly commandLine: string;
}

const LINE = /^ *(\d+) +(\d+) +(\d+) +(\S)\S* +(\S+ +\S+ +\d+ +\S+ +\d{4}) +(.*)$/;

export function listProcesses(...which: readonly string[]): Listed[] {
  const columns = 'pid=,ppid=,pgid=,stat=,lstart=,command=';
  const text = output('ps', ['-ww', '-o', columns, ...(which.length > 0 ? which : ['-A'])]);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [, pid, parent = '', group = '', state = '', startTime = '', command = ''] = LINE.exec(line) ?? [];
      if (pid === undefined) throw new Error(`ps printed "${line}"`);
      const fields = Object.assign(Array<string>(20).fill('0'), {
        0: state,
        1: parent,
        2: group,
        17: '1',
        19: startTime,
      });
      return { pid: Number(pid), fields, commandLine: `${command.replaceAll(' ', '\0')}\0` };
    });
}

export function listProcess(pid: number): Listed | undefined {
  return listProcesses('-p', String(pid))[0];
}

/** PIDs of all processes that have a file in the folder open or have it as working directory. */
export function listProcessesIn(folder: string): number[] {
  const found = new Set<number>();
  let pid = 0;
  for (const line of output('lsof', ['-w', '-n', '-P', '-F', 'pn']).split('\n')) {
    const value = line.slice(1);
    if (line.startsWith('p')) pid = Number(value);
    else if (line.startsWith('n') && (value === folder || value.startsWith(`${folder}/`))) found.add(pid);
  }
  return [...found];
}

/** Both programs exit with 1 and print nothing when no process matches. */
function output(program: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (error !== undefined) throw error;
  if (status !== 0 && (status !== 1 || stderr !== '')) throw new Error(`${program} failed with ${status}: ${stderr}`);
  return stdout;
}
