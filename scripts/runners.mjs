/** The test runners and environments that the library is tested in, and the command line of each. */
// @ts-check

/**
 * The packages that all of them need in one node_modules: the newest versions that run on the oldest Node that the library supports.
 * ts-jest needs the types of Node, and a TypeScript whose compiler is in JavaScript.
 */
const VERSIONS = {
  ava: '7.0.0',
  'happy-dom': '20.14.6',
  jest: '30.5.2',
  'jest-environment-jsdom': '30.5.2',
  jsdom: '27.3.0',
  mocha: '12.0.3',
  sinon: '21.1.2',
  'ts-jest': '29.4.15',
  '@types/node': '20.19.43',
  typescript: '5.9.3',
  vitest: '4.1.12',
};

export const RUNNER_PACKAGES = Object.entries(VERSIONS).map(([name, version]) => `${name}@${version}`);

/**
 * @typedef {object} RunnerRow
 * @property {string} runner with its version
 * @property {string} environment
 * @property {readonly string[]} command for Node, in the project: options, the runner's program, its own words
 */

/** Longer than any case takes on a slow machine. The default limits of the runners are a few seconds. */
const CASE_TIMEOUT_MS = 120_000;

/** @type {readonly RunnerRow[]} */
export const RUNNER_ROWS = [
  { runner: `node:test ${process.versions.node}`, environment: 'node', command: ['--test', 'node.test.mjs'] },
  ...[
    jestModule('node', {}),
    jestModule('jsdom', { testEnvironment: 'jsdom' }),
    jestModule('node, timers faked before the library is loaded', { fakeTimers: { enableGlobally: true } }),
    jest('CommonJS, require', 'jest-require.test.cjs', {}),
    jest('CommonJS, jsdom', 'jest-require.test.cjs', { testEnvironment: 'jsdom' }),
    jest('CommonJS, ts-jest', 'ts-jest.test.ts', { transform: { '\\.ts$': 'ts-jest' } }),
  ],
  ...['forks', 'threads', 'vmForks', 'vmThreads'].map((pool) => vitest(pool, [`--pool=${pool}`])),
  ...['jsdom', 'happy-dom'].flatMap((environment) => [
    vitest(`forks, ${environment}`, ['--pool=forks', `--environment=${environment}`]),
    vitest(`vmThreads, ${environment}`, ['--pool=vmThreads', `--environment=${environment}`]),
  ]),
  {
    runner: `mocha ${VERSIONS.mocha}`,
    environment: 'node, sinon',
    command: ['node_modules/mocha/bin/mocha.js', `--timeout=${CASE_TIMEOUT_MS}`, 'mocha.test.mjs'],
  },
  ava('worker threads, sinon', []),
  ava('processes, sinon', ['--no-worker-threads']),
];

/** @param {string} environment @param {Record<string, unknown>} config @returns {RunnerRow} */
function jestModule(environment, config) {
  const { command, ...row } = jest(`ES modules, ${environment}`, 'jest-import.test.mjs', config);
  return { ...row, command: ['--experimental-vm-modules', ...command] };
}

/** @param {string} environment @param {string} file @param {Record<string, unknown>} config @returns {RunnerRow} */
function jest(environment, file, config) {
  const complete = { testMatch: ['**/*.test.*'], testTimeout: CASE_TIMEOUT_MS, transform: {}, ...config };
  const words = ['--config', JSON.stringify(complete), '--rootDir=.', '--runInBand', file];
  return { runner: `jest ${VERSIONS.jest}`, environment, command: ['node_modules/jest/bin/jest.js', ...words] };
}

/** @param {string} environment @param {readonly string[]} options @returns {RunnerRow} */
function vitest(environment, options) {
  const words = ['run', `--testTimeout=${CASE_TIMEOUT_MS}`, ...options, 'vitest.test.mjs'];
  return { runner: `vitest ${VERSIONS.vitest}`, environment, command: ['node_modules/vitest/vitest.mjs', ...words] };
}

/** @param {string} environment @param {readonly string[]} options @returns {RunnerRow} */
function ava(environment, options) {
  const words = [`--timeout=${CASE_TIMEOUT_MS}ms`, ...options, 'ava.test.mjs'];
  return { runner: `ava ${VERSIONS.ava}`, environment, command: ['node_modules/ava/entrypoints/cli.mjs', ...words] };
}
