import * as library from 'flock-process';
import useAll from './use-all.cjs';

const [, , server, folder] = process.argv;
useAll(library, { server, folder }).then((seen) => console.log(JSON.stringify(seen)));
