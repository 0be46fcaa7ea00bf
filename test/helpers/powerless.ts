/** A manager in a process with less power than this one: of another user, or of root without the capabilities of root. */
import type { ProcessSpec } from '../../src/index.js';
import { type RemoteManager, startRemoteManager } from './remote-manager.js';

/** The words in front of a command with which it has them: capabilities(7), without "cap_". */
function withOnly(...capabilities: readonly string[]): string[] {
  const list = ['-all', ...capabilities.map((name) => `+${name}`)].join();
  return ['setpriv', `--bounding-set=${list}`, '--inh-caps=-all'];
}

/** What Docker gives to root in a container: it may become any user, and may not look into the processes of others. */
const DOCKER = ['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service'];
const DOCKER_DEVICES = ['net_raw', 'sys_chroot', 'mknod', 'audit_write', 'setfcap'];
export const IN_DOCKER = withOnly(...DOCKER, ...DOCKER_DEVICES);

export const AS_NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/** The same user without root's powers: another user could not read a checkout in root's home folder. */
export const POWERLESS = process.getuid?.() === 0 ? withOnly() : [];

/** A manager that file modes and owners hold back, also when the tests run as root. */
export function startPowerlessManager(
  test: Parameters<typeof startRemoteManager>[0],
  spec: ProcessSpec,
): Promise<RemoteManager> {
  return startRemoteManager(test, spec, { behind: POWERLESS });
}
