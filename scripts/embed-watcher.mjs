/**
 * Writes src/start/watcher-text.ts, which has the text of src/start/watcher.sh as a constant, because a bundle has no file of ours beside
 * it. Each build does this first. Comments are left out, because ps shows the text for as long as the watcher lives.
 */
// @ts-check
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../src/start/watcher.sh', import.meta.url));
const target = fileURLToPath(new URL('../src/start/watcher-text.ts', import.meta.url));

const lines = readFileSync(source, 'utf8').split('\n');
const text = lines.filter((line) => !/^\s*(#|$)/.test(line)).join('\n');
const module = `/** Written by scripts/embed-watcher.mjs: change watcher.sh. */\nexport const WATCHER_TEXT =\n  ${JSON.stringify(text)};\n`;
if (currentModule() !== module) writeFileSync(target, module);

function currentModule() {
  try {
    return readFileSync(target, 'utf8');
  } catch {
    // ENOENT: the first build.
    return undefined;
  }
}
