import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders } from '../../src/support/files.js';
import { startFixture } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';

const permissions = (path: string) => statSync(path).mode & 0o7777;

test('all missing levels are created with mode 0700', (t) => {
  const folder = temporaryFolder(t);
  makeFolders(join(folder, 'a/b/c/d'));
  for (const level of ['a', 'a/b', 'a/b/c', 'a/b/c/d']) assert.equal(permissions(join(folder, level)), 0o700, level);
});

test('existing folders are left as they are, even the root', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'a'));
  chmodSync(join(folder, 'a'), 0o755);
  makeFolders(join(folder, 'a'));
  makeFolders(join(folder, 'a/b'));
  makeFolders('/');
  assert.equal(permissions(join(folder, 'a')), 0o755);
});

test('a symbolic link to a folder counts as a folder', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'real'));
  symlinkSync('real', join(folder, 'link'));
  makeFolders(join(folder, 'link'));
  makeFolders(join(folder, 'link/a'));
  assert.equal(existsSync(join(folder, 'real/a')), true);
});

test('a file in the way is an error, and left alone', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), 'kept');
  assert.throws(() => makeFolders(join(folder, 'file')), { code: 'EEXIST' });
  assert.throws(() => makeFolders(join(folder, 'file/a')), { code: 'ENOTDIR' });
  assert.throws(() => makeFolders(join(folder, 'file/a/b')), { code: 'ENOTDIR' });
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'kept');
});

test('a symbolic link that leads nowhere is an error, and its target is not created', (t) => {
  const folder = temporaryFolder(t);
  symlinkSync(join(folder, 'nowhere'), join(folder, 'link'));
  assert.throws(() => makeFolders(join(folder, 'link')), { code: 'EEXIST' });
  assert.throws(() => makeFolders(join(folder, 'link/a')), { code: 'EEXIST' });
  assert.equal(existsSync(join(folder, 'nowhere')), false);
});

test('creating a folder under /proc fails at once', async (t) => {
  for (const path of ['/proc/flock-process', '/proc/flock-process/a/b', '/proc/self/flock-process/a']) {
    const maker = startFixture(t, 'folder-maker', [path]);
    assert.equal((await maker.ended()).stdout, 'ENOENT\n', path);
  }
});

test('an empty path is an error', () => {
  assert.throws(() => makeFolders(''), { code: 'ENOENT' });
});

test('several processes that create the same folders all succeed', async (t) => {
  const folder = temporaryFolder(t);
  const levels = Array.from({ length: rounds(1_000) }, (_, index) => join(folder, String(index), 'a/b/c'));
  writeFileSync(join(folder, 'list'), levels.join('\n'));
  const makers = [1, 2, 3].map(() => startFixture(t, 'folder-maker', ['--list', join(folder, 'list')]));
  for (const maker of makers) assert.equal((await maker.ended()).stdout, 'made\n', maker.stderr);
  assert.equal(
    levels.every((level) => permissions(level) === 0o700),
    true,
  );
});
