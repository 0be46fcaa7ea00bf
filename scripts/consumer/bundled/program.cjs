const library = require('flock-process');
const useAll = require('./use-all.cjs');

const [, , server, folder] = process.argv;
useAll(library, { server, folder }).then((seen) => console.log(JSON.stringify(seen)));
