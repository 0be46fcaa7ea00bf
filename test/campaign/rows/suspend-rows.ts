/**
 * SIGSTOP at a random instant of a call, then SIGCONT or SIGKILL: the pause makes races likely that otherwise take
 * microseconds.
 */
import type { Row } from '../attack.js';
import { blowRows } from './blow-rows.js';

export const suspendRows: readonly Row[] = blowRows('suspend', {
  ending: 'suspended at a random instant makes no second server and is no lasting obstacle',
  attempts: { start: 50, stop: 50, restart: 50, supervise: 50, server: 40, watcher: 40 },
});
