/** This test runs in jest with --experimental-vm-modules. */
import * as library from 'flock-process';
import useAll from './use-all.cjs';

test('a test file imports the library, and uses all of it', async () => {
  const { SERVER: server, FOLDER: folder, EXPECTED } = process.env;
  expect(await useAll(library, { server, folder })).toEqual(JSON.parse(EXPECTED));
}, 30_000);
