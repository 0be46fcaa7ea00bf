/** Runs test files under Node's runner in the order in which they are given; `node --test` sorts them. */
// @ts-check
import { setMaxListeners } from 'node:events';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [concurrency, timeout, ...files] = process.argv.slice(2);

// As `node --test` does: a signal ends the files that run, and the counts come last.
const over = new AbortController();
setMaxListeners(0, over.signal); // Each file has one.
for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.once(name, () => over.abort());

run({ files, concurrency: Number(concurrency), timeout: Number(timeout), signal: over.signal })
  .on('test:fail', ({ todo }) => {
    if (todo === undefined || todo === false) process.exitCode = 1;
  })
  .compose(new spec())
  .pipe(process.stdout);
