/** All rows of the campaign, in the order of its table. */
import type { Row } from './attack.js';
import { driftRows } from './rows/drift-rows.js';
import { foreignOwnerRows } from './rows/foreign-owner-rows.js';
import { identityRows } from './rows/identity-rows.js';
import { killRows } from './rows/kill-rows.js';
import { lockRows } from './rows/lock-rows.js';
import { randomRows } from './rows/random-rows.js';
import { serverRows } from './rows/server-rows.js';
import { sharedRows } from './rows/shared-rows.js';
import { soakRows } from './rows/soak-rows.js';
import { stackRow } from './rows/stack-row.js';
import { superviseRows } from './rows/supervise-rows.js';
import { surroundingsRows } from './rows/surroundings-rows.js';
import { suspendRows } from './rows/suspend-rows.js';
import { tiedRows } from './rows/tied-rows.js';

/** The key selects the group on the command line, and names the test file of its short form. */
export const groups: Readonly<Record<string, readonly Row[]>> = {
  lock: lockRows,
  surroundings: surroundingsRows,
  tied: tiedRows,
  soak: soakRows,
  process: killRows,
  suspend: suspendRows,
  servers: serverRows,
  random: randomRows,
  supervise: superviseRows,
  identity: [...identityRows, ...foreignOwnerRows],
  shared: sharedRows,
  drift: driftRows,
  stack: [stackRow],
};
