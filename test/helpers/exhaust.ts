import { openSync } from 'node:fs';

/** Opens files until this process has no descriptor left. @returns the descriptors, to be closed again */
export function openAllDescriptors(): number[] {
  const opened: number[] = [];
  for (;;) {
    try {
      opened.push(openSync('/dev/null', 'r'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EMFILE') throw error;
      return opened;
    }
  }
}
