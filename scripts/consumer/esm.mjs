import * as library from 'flock-process';
import { useLibrary } from './use.mjs';

await useLibrary(library);
