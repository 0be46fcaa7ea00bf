/** Removes compiled files whose source is gone, and leaves the others alone, because a process may be running them. */
// @ts-check
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

const outputs = [
  { output: 'build/types', source: 'src' },
  { output: 'build/src', source: 'src' },
  { output: 'build/test', source: 'test' },
];

for (const { output, source } of outputs) {
  for (const file of compiledFiles(join(root, output))) {
    const sourceFile = join(root, source, file.replace(/(\.d)?\.[jt]s(\.map)?$/, '.ts'));
    if (!existsSync(sourceFile)) rmSync(join(root, output, file));
  }
}

/** @param {string} folder */
function compiledFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => /\.[jt]s(\.map)?$/.test(file));
}
