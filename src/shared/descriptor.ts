import { closeSync } from 'node:fs';

/** Closes it, the first time that it is called: afterwards the number can be somebody else's. */
export function closeOnce(fd: number): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
}
