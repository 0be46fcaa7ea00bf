/**
 * Can a workflow be started? Three questions over one connection, each of which the other two do not answer:
 * - the health service says that the frontend serves; it does so before anything else is known to work
 * - DescribeNamespace reads the database: the namespace is there
 * - DescribeWorkflowExecution of a workflow that nobody started goes the way of a start, through the frontend's namespace
 *   cache to the history service, which answers "not found". Without it a server whose parts do not reach each other
 *   looks ready: Temporal 1.9.1 on a single address other than 127.0.0.1 serves, describes, and starts no workflow.
 */
import { debugLog } from '../shared/debug.js';
import { askGrpc, GRPC_NOT_FOUND, GRPC_OK, isServing, type UnaryCall } from './grpc-health.js';
import { messageField, stringField } from './protobuf.js';

const log = debugLog('health');

const SERVICE = 'temporal.api.workflowservice.v1.WorkflowService';

/** No workflow has this ID; should there be one, the answer is as good. */
const NO_WORKFLOW = 'flock-process-health-check';

export interface WorkflowReadinessOptions {
  /** `host:port` of the frontend. */
  address: string;
  namespaces: readonly string[];
  signal: AbortSignal;
}

/** Never rejects: what cannot be asked, or answers otherwise, is not ready. */
export async function canStartWorkflows({ address, namespaces, signal }: WorkflowReadinessOptions): Promise<boolean> {
  return await askGrpc({ address, signal }, async (call) => {
    if (!(await isServing(call, SERVICE))) return false;
    // Side by side: the first call of each kind takes a starting server 10 to 20 ms.
    const answers = await Promise.all(namespaces.flatMap((it) => [isThere(call, it), reachesWorkflows(call, it)]));
    return answers.every(Boolean);
  });
}

async function isThere(call: UnaryCall, namespace: string): Promise<boolean> {
  const { status } = await call(`/${SERVICE}/DescribeNamespace`, stringField(1, namespace));
  if (status !== GRPC_OK) log('namespace "%s": gRPC status %d', namespace, status);
  return status === GRPC_OK;
}

async function reachesWorkflows(call: UnaryCall, namespace: string): Promise<boolean> {
  const execution = messageField(2, stringField(1, NO_WORKFLOW));
  const request = Buffer.concat([stringField(1, namespace), execution]);
  const { status } = await call(`/${SERVICE}/DescribeWorkflowExecution`, request);
  const isAnswered = status === GRPC_NOT_FOUND || status === GRPC_OK;
  if (!isAnswered) log('workflows of namespace "%s": gRPC status %d', namespace, status);
  return isAnswered;
}
