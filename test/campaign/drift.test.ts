import { testShortForm } from './short-form.js';

testShortForm('drift');
