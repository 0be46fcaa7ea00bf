/** What counts as ready, tested with a server that answers as the test tells it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { canStartWorkflows } from '../../src/presets/temporal-readiness.js';
import { type GrpcCall, NOT_SERVING, reply, replyWithError, startGrpcServer } from '../helpers/grpc-servers.js';
import { MUST_HAPPEN_MS } from '../helpers/waiting.js';

/** Answers like a healthy Temporal, except for the methods named in `otherwise`. */
async function startFake(t: TestContext, otherwise: Record<string, (call: GrpcCall) => void> = {}) {
  const calls: string[] = [];
  const answers: Record<string, (call: GrpcCall) => void> = {
    Check: ({ stream }) => reply(stream),
    GetSystemInfo: ({ stream }) => reply(stream),
    DescribeNamespace: ({ stream }) => reply(stream),
    DescribeWorkflowExecution: ({ stream }) => replyWithError(stream, 5),
    ...otherwise,
  };
  const server = await startGrpcServer(t, (call) => {
    const method = call.path.replace(/^.*\//, '');
    calls.push(method);
    answers[method]?.(call);
  });
  const ask = (...namespaces: string[]) =>
    canStartWorkflows({ address: server.address, namespaces, signal: AbortSignal.timeout(MUST_HAPPEN_MS) });
  return { ask, calls, connections: server.connections };
}

test('one connection serves all questions', async (t) => {
  const fake = await startFake(t);
  assert.equal(await fake.ask('a', 'b', 'c'), true);
  assert.equal(fake.connections.opened, 1);
  assert.deepEqual(fake.calls.toSorted(), [
    'Check',
    ...Array(3).fill('DescribeNamespace'),
    ...Array(3).fill('DescribeWorkflowExecution'),
    'GetSystemInfo',
  ]);
});

test('a server that is not serving is not asked anything else', async (t) => {
  const fake = await startFake(t, { Check: ({ stream }) => reply(stream, { frames: [NOT_SERVING] }) });
  assert.equal(await fake.ask('a'), false);
  assert.deepEqual(fake.calls, ['Check']);
});

test('a server that does not know GetSystemInfo is ready, and one whose GetSystemInfo fails is not', async (t) => {
  const old = await startFake(t, { GetSystemInfo: ({ stream }) => replyWithError(stream, 12) });
  assert.equal(await old.ask('a'), true);
  for (const status of [7, 13, 14]) {
    const failing = await startFake(t, { GetSystemInfo: ({ stream }) => replyWithError(stream, status) });
    assert.equal(await failing.ask('a'), false, `gRPC status ${status}`);
  }
});

test('a server with a namespace that cannot be described is not healthy', async (t) => {
  for (const status of [5, 7, 13, 14]) {
    const fake = await startFake(t, { DescribeNamespace: ({ stream }) => replyWithError(stream, status) });
    assert.equal(await fake.ask('a'), false, `gRPC status ${status}`);
  }
});

test('when asked for a workflow, only a description and "not found" are healthy answers', async (t) => {
  const found = await startFake(t, { DescribeWorkflowExecution: ({ stream }) => reply(stream) });
  assert.equal(await found.ask('a'), true);
  for (const status of [1, 4, 8, 13, 14]) {
    const fake = await startFake(t, { DescribeWorkflowExecution: ({ stream }) => replyWithError(stream, status) });
    assert.equal(await fake.ask('a'), false, `gRPC status ${status}`);
  }
});

test('a server that dies between two answers is not healthy', async (t) => {
  const fake = await startFake(t, { DescribeWorkflowExecution: ({ stream }) => stream.session?.destroy() });
  assert.equal(await fake.ask('a', 'b'), false);
});
