/**
 * A manager in a process with fewer privileges than this one: of another user, or of root without root's capabilities.
 */
import type { ProcessSpec } from '../../src/index.js';
import { type RemoteManager, startRemoteManager } from './remote-manager.js';

/** The words in front of a command that limit it to these capabilities: capabilities(7), without "cap_". */
function withOnly(...capabilities: readonly string[]): string[] {
  const list = ['-all', ...capabilities.map((name) => `+${name}`)].join();
  return ['setpriv', `--bounding-set=${list}`, '--inh-caps=-all'];
}

/**
 * The capabilities that Docker gives root in a container: it may become any user, and may not inspect processes of
 * others.
 */
const DOCKER = ['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service'];
const DOCKER_DEVICES = ['net_raw', 'sys_chroot', 'mknod', 'audit_write', 'setfcap'];
export const IN_DOCKER = withOnly(...DOCKER, ...DOCKER_DEVICES);

export const AS_NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/** The same user without root's capabilities: another user could not read a checkout in root's home folder. */
export const POWERLESS = process.getuid?.() === 0 ? withOnly() : [];

/** A manager that is bound by file modes and owners even when the tests run as root. */
export function startPowerlessManager(
  test: Parameters<typeof startRemoteManager>[0],
  spec: ProcessSpec,
): Promise<RemoteManager> {
  return startRemoteManager(test, spec, { behind: POWERLESS });
}
