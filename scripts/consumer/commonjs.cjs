const library = require('flock-process');

import('./use.mjs').then(({ useLibrary }) => useLibrary(library));
