/** Runs test files under Node's runner in the order in which they are given; `node --test` sorts them. */
// @ts-check
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [concurrency, timeout, ...files] = process.argv.slice(2);

run({ files, concurrency: Number(concurrency), timeout: Number(timeout) })
  .on('test:fail', ({ todo }) => {
    if (todo === undefined || todo === false) process.exitCode = 1;
  })
  .compose(new spec())
  .pipe(process.stdout);
