/** What an error says of itself under a minifier, and what is read of one that is not of this realm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import * as library from '../../src/index.js';
import { errorCode, errorText } from '../../src/support/errors.js';

test('the name of each error is that of its class, and needs no class of that name', () => {
  const classes = Object.entries(library).filter(([name]) => /^(?!FlockProcess).*Error$/.test(name));
  assert.ok(classes.length > 10);
  for (const [name, ErrorClass] of classes) {
    const Renamed = class extends (ErrorClass as new (message: string, facts: object) => Error) {};
    assert.equal(new Renamed('message', {}).name, name);
  }
});

test('code and message of an error of another realm are read like those of our own', () => {
  const error: unknown = runInNewContext("Object.assign(new Error('no such file'), { code: 'ENOENT' })");
  assert.equal(error instanceof Error, false);
  assert.equal(errorCode(error), 'ENOENT');
  assert.equal(errorText(error), 'no such file');
});
