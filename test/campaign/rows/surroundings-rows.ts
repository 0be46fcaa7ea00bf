/** Attacks on what the library stands on: disk, descriptors, rights, files, processes, clock. */
import type { Row } from '../attack.js';
import { diskRows } from './disk-rows.js';

export const surroundingsRows: readonly Row[] = [...diskRows];
