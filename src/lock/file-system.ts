/**
 * File systems on which a lock may not mean what it means on a local disk: recognised by their number in statfs(2), and
 * warned about once for each device. The numbers are Linux's; elsewhere none of them is recognised.
 */

import { fstatSync, statfsSync } from 'node:fs';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';

const log = debugLog('lock');

const SMB = {
  name: 'SMB',
  reason: 'flock(2) is made into a lock of the server, which other programs meet as a refusal to read or write',
};

/** From linux/magic.h; virtiofs has the number of FUSE. */
const DOUBTFUL_FILE_SYSTEMS = new Map([
  [
    0x6969,
    {
      name: 'NFS',
      reason:
        'depending on the mount, flock(2) stays on this machine or becomes a lock of the server, which a lost connection can lose',
    },
  ],
  [0x517b, SMB],
  [0xff534d42, SMB],
  [0xfe534d42, SMB],
  [
    0x01021997,
    {
      name: '9p',
      reason: 'flock(2) may stay on this side of it, and then the host and other guests do not see the lock',
    },
  ],
  [
    0x65735546,
    {
      name: 'FUSE or virtiofs',
      reason:
        'flock(2) stays on this machine unless the program behind it takes part, and then others do not see the lock',
    },
  ],
]);

const seenDevices = new Set<number>();

/** Looks once for each device: at every lock the look alone would be a fifth of its cost. */
export function warnOfFileSystem(path: string, fd: number): void {
  const device = fstatSync(fd).dev;
  if (seenDevices.has(device)) return;
  seenDevices.add(device);
  const found = DOUBTFUL_FILE_SYSTEMS.get(fileSystemType(path));
  if (found === undefined) return;
  const { name, reason } = found;
  process.emitWarning(`The lock file "${path}" is on ${name}: ${reason}. Keep it on a local disk`, {
    type: 'FlockProcessWarning',
    code: 'FLOCK_PROCESS_FILE_SYSTEM',
  });
}

function fileSystemType(path: string): number {
  try {
    // A 32-bit system has those above 2^31 as negative numbers.
    return statfsSync(path).type >>> 0;
  } catch (error) {
    // ENOENT: deleted meanwhile. ENOSYS: the file system does not say. A warning less, not a lock that is lost.
    log('cannot tell on which file system %s is: %s', path, errorText(error));
    return 0;
  }
}
