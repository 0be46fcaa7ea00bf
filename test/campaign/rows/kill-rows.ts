/**
 * SIGKILL at a random instant of a call: to the process that makes it, to the server, to the watcher. A full campaign
 * sends a thousand.
 */
import type { Row } from '../attack.js';
import { blowRows } from './blow-rows.js';

export const killRows: readonly Row[] = blowRows('kill', {
  ending: 'killed at a random instant leaves nothing that later calls cannot handle',
  attempts: { start: 250, stop: 200, restart: 150, supervise: 150, server: 150, watcher: 100 },
});
