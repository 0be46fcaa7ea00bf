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
    const ready = await Promise.all(namespaces.map((namespace) => servesNamespace(call, namespace)));
    return ready.every(Boolean);
  });
}

async function servesNamespace(call: UnaryCall, namespace: string): Promise<boolean> {
  const inNamespace = stringField(1, namespace);
  const described = await call(`/${SERVICE}/DescribeNamespace`, inNamespace);
  if (described.status !== GRPC_OK) {
    log('namespace "%s": gRPC status %d', namespace, described.status);
    return false;
  }
  const execution = messageField(2, stringField(1, NO_WORKFLOW));
  const workflow = await call(`/${SERVICE}/DescribeWorkflowExecution`, Buffer.concat([inNamespace, execution]));
  const isAnswered = workflow.status === GRPC_NOT_FOUND || workflow.status === GRPC_OK;
  if (!isAnswered) log('a workflow of namespace "%s": gRPC status %d', namespace, workflow.status);
  return isAnswered;
}
