import { testShortForm } from './short-form.js';

testShortForm('stack');
