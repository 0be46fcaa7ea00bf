/** This test runs in jest's default mode. */
const library = require('flock-process');
const useAll = require('./use-all.cjs');

test('a test file requires the library, and uses all of it', async () => {
  const { SERVER: server, FOLDER: folder, EXPECTED } = process.env;
  expect(await useAll(library, { server, folder })).toEqual(JSON.parse(EXPECTED));
}, 30_000);
