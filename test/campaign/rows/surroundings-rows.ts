/** Attacks on what the library stands on: disk, descriptors, rights, files, processes, clock. */
import type { Row } from '../attack.js';
import { diskRows } from './disk-rows.js';
import { limitRows } from './limit-rows.js';

export const surroundingsRows: readonly Row[] = [...diskRows, ...limitRows];
