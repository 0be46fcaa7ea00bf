/** Attacks on what the library depends on: disk, descriptors, permissions, files, processes, clock. */
import type { Row } from '../attack.js';
import { clockRows } from './clock-rows.js';
import { diskRows } from './disk-rows.js';
import { fileRows } from './file-rows.js';
import { limitRows } from './limit-rows.js';
import { vanishedFolderRow } from './vanished-folder-row.js';

export const surroundingsRows: readonly Row[] = [
  ...diskRows,
  ...limitRows,
  ...fileRows,
  vanishedFolderRow,
  ...clockRows,
];
