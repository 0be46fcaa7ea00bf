/** A manager in a process that file modes and owners hold back, also when the tests run as root. */
import { once } from 'node:events';
import type { ProcessSpec } from '../../src/index.js';
import { fixture } from './paths.js';
import { startProgram } from './programs.js';
import { RemoteManager } from './remote-manager.js';

export async function startPowerlessManager(
  test: Parameters<typeof startProgram>[0],
  spec: ProcessSpec,
): Promise<RemoteManager> {
  const command = [process.execPath, fixture('remote-manager'), JSON.stringify(spec)];
  // The same user without root's powers: another user could not read a checkout in root's home folder.
  const prefix = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-all'] : [];
  const [program = '', ...args] = [...prefix, ...command];
  const remote = new RemoteManager(startProgram(test, program, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }));
  const ended = remote.program.exited.then(({ stderr }) => {
    throw new Error(`the remote manager ended: ${stderr}`);
  });
  await Promise.race([once(remote, 'event'), ended]);
  return remote;
}
