/** A real Temporal with the command line of the preset, started without the library. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { askGrpc, isServing } from '../../src/presets/grpc-health.js';
import { type TemporalDevServerOptions, temporalDevServer } from '../../src/presets/temporal-dev-server.js';
import { canStartWorkflows } from '../../src/presets/temporal-readiness.js';
import type { Instance, ProcessSpec } from '../../src/state/process-spec.js';
import * as activities from '../fixtures/activities.js';
import type { greeting } from '../fixtures/workflows.js';
import { fixture } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { freePort, rounds, temporaryFolder } from '../helpers/resources.js';
import { temporalBinary } from '../helpers/temporal.js';
import { LOST_PORT } from '../helpers/temporal-instances.js';
import { eventually, MUST_HAPPEN_MS } from '../helpers/waiting.js';

const SERVICE = 'temporal.api.workflowservice.v1.WorkflowService';

interface Running {
  readonly spec: ProcessSpec;
  readonly address: string;
  readonly program: Program;
}

async function startTemporal(t: TestContext, options: TemporalDevServerOptions = {}): Promise<Running> {
  const home = temporaryFolder(t);
  const port = await freePort();
  const command = temporalBinary();
  const spec = temporalDevServer({ ...temporalDevServer.forTests, stateDir: home, command, port, ...options });
  // Even in memory Temporal writes a file to the home folder, and reads settings there.
  const program = startProgram(t, spec.command, spec.args, { env: { ...process.env, HOME: home } });
  return { spec, address: `${spec.host}:${port}`, program };
}

/** Polls without a pause, so that the first true answer comes as early as possible. */
async function startTemporalUntil(
  t: TestContext,
  options: TemporalDevServerOptions,
  isUp: (running: Running, signal: AbortSignal) => Promise<boolean | undefined>,
): Promise<Running> {
  const running = await startTemporal(t, options);
  const { program } = running;
  const outcome = await eventually(
    'Temporal is up or has ended',
    async () => (program.isAlive ? (await isUp(running, AbortSignal.timeout(2_000))) && 'up' : 'ended'),
    { everyMs: 1, withinMs: 2 * MUST_HAPPEN_MS },
  );
  if (outcome === 'up') return running;
  // Temporal chooses five more ports at random, and now and then one of them is taken before it binds it.
  const { stdout, stderr } = await program.exited;
  assert.match(stdout + stderr, LOST_PORT);
  return await startTemporalUntil(t, options, isUp);
}

function startHealthyTemporal(t: TestContext, options: TemporalDevServerOptions = {}): Promise<Running> {
  return startTemporalUntil(t, options, async ({ spec, address, program }, signal) => {
    const instance: Instance = { pid: program.pid, startedAt: new Date(), address, reused: false, differences: [] };
    return await spec.isHealthy?.(instance, signal);
  });
}

async function connect(t: TestContext, address: string): Promise<Connection> {
  const connection = await Connection.connect({ address });
  t.after(() => connection.close());
  return connection;
}

test('the moment it is healthy, a workflow can be started in every namespace, with a search attribute', async (t) => {
  for (let round = 0; round < rounds(30, { least: 3 }); round += 1) {
    const running = await startHealthyTemporal(t, {
      namespaces: ['one', 'two'],
      searchAttributes: { Colour: 'Keyword' },
    });
    // A lazy connection connects at the first call, so only the start itself comes after the first true answer.
    const connection = Connection.lazy({ address: running.address });
    await Promise.all(
      ['default', 'one', 'two'].map(async (namespace) => {
        const { workflow } = new Client({ connection, namespace });
        const workflowId = `in ${namespace}`;
        const searchAttributes = { Colour: ['red'] };
        await workflow.start('anything', { taskQueue: 'nobody', workflowId, searchAttributes });
      }),
    );
    await connection.close();
    running.program.kill();
    await running.program.exited;
  }
});

test('a workflow that a client starts is completed by a worker', async (t) => {
  const running = await startHealthyTemporal(t, { namespaces: ['orders'] });
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const connection = await NativeConnection.connect({ address: running.address });
  t.after(() => connection.close());
  const taskQueue = 'greetings';
  const namespace = 'orders';
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue,
    activities,
    workflowsPath: fixture('workflows'),
  });
  const client = new Client({ connection: await connect(t, running.address), namespace });
  const result = await worker.runUntil(
    client.workflow.execute<typeof greeting>('greeting', { taskQueue, workflowId: 'first', args: ['Ada'] }),
  );
  assert.equal(result, 'Hello Ada, from orders');
});

for (const ip of ['0.0.0.0', '::']) {
  test(`a server that listens on ${ip} is healthy on loopback, and a workflow can be started there`, async (t) => {
    const running = await startHealthyTemporal(t, { ip });
    const { workflow } = new Client({ connection: await connect(t, running.address) });
    await workflow.start('anything', { taskQueue: 'nobody', workflowId: 'first' });
  });
}

test('a server that serves and describes, but starts no workflow, is not healthy', async (t) => {
  // Temporal 1.9.1 does so on such an address; a later version that starts workflows there would be healthy.
  const ip = process.platform === 'linux' ? '127.0.0.2' : '::1';
  const { address } = await startTemporalUntil(t, { ip }, (running, signal) =>
    askGrpc({ address: running.address, signal }, (call) => isServing(call, SERVICE)),
  );
  const connection = await connect(t, address);
  // It serves a moment before its namespaces exist.
  await eventually('Temporal describes the namespace', () =>
    connection.workflowService.describeNamespace({ namespace: 'default' }).catch(() => undefined),
  );
  const { workflow } = new Client({ connection });
  const start = connection.withDeadline(Date.now() + 3_000, () =>
    workflow.start('anything', { taskQueue: 'nobody', workflowId: 'first' }),
  );
  const isStarted = start.then(
    () => true,
    () => false,
  );
  const isHealthy = canStartWorkflows({ address, namespaces: ['default'], signal: AbortSignal.timeout(3_000) });
  assert.equal(await isHealthy, await isStarted);
});

test('a server without one of its namespaces is not healthy, whatever the other namespaces are', async (t) => {
  const running = await startHealthyTemporal(t);
  const signal = AbortSignal.timeout(MUST_HAPPEN_MS);
  const ask = (...namespaces: string[]) => canStartWorkflows({ address: running.address, namespaces, signal });
  assert.equal(await ask('default'), true);
  assert.equal(await ask('default', 'nowhere'), false);
});

test('the server uses the dynamic configuration and the UI port of the options', async (t) => {
  const uiPort = await freePort();
  const running = await startHealthyTemporal(t, { uiPort, dynamicConfig: { 'limit.maxIDLength': 40 } });
  const { workflow } = new Client({ connection: await connect(t, running.address) });
  await workflow.start('anything', { taskQueue: 'nobody', workflowId: 'x'.repeat(40) });
  await assert.rejects(workflow.start('anything', { taskQueue: 'nobody', workflowId: 'x'.repeat(41) }));
  const isUp = () =>
    fetch(`http://127.0.0.1:${uiPort}/`).then(
      (page) => page.ok,
      () => false,
    );
  await eventually('the UI is up', isUp);
});

const refused: [what: string, options: Record<string, unknown>, complaint: RegExp][] = [
  ['a port of the UI that is none', { uiPort: 70_000 }, /can't set UI port 70000/],
  ['an address that is none', { ip: '127.0.0.256' }, /lookup 127\.0\.0\.256/],
  ['a type of search attribute that does not exist', { searchAttributes: { A: 'Integer' } }, /type "Integer"/],
  ['a name of a search attribute with "="', { searchAttributes: { 'A=B': 'Int' } }, /type "B=Int"/],
  ['a key of the configuration with "="', { dynamicConfig: { 'a=b': 1 } }, /invalid JSON value for key "a"/],
  ['a log level that does not exist', { logLevel: 'trace' }, /trace is not one of/],
];

for (const [what, options, complaint] of refused) {
  test(`${what} is refused by Temporal itself, before it serves`, async (t) => {
    const { program } = await startTemporal(t, options as TemporalDevServerOptions);
    const { exitCode, stdout, stderr } = await program.ended();
    assert.notEqual(exitCode, 0);
    assert.match(stdout + stderr, complaint);
  });
}

test('one port for the frontend and the UI is refused by Temporal itself', async (t) => {
  const port = await freePort();
  const { program } = await startTemporal(t, { port, uiPort: port });
  const { exitCode, stdout, stderr } = await program.ended();
  assert.notEqual(exitCode, 0);
  assert.match(stdout + stderr, /address already in use/);
});
