/**
 * SIGSTOP at a random instant of a call, then SIGCONT or SIGKILL: the pause makes races likely that otherwise take
 * microseconds.
 */
import type { Row } from '../attack.js';
import { blowRows } from './blow-rows.js';

export const suspendRows: readonly Row[] = blowRows('suspend', {
  ending: 'suspended at a random instant causes no second server and blocks no other call for ever',
  attempts: { start: 50, stop: 50, restart: 50, supervise: 50, server: 40, watcher: 40 },
});
