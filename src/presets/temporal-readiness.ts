/**
 * Can a client connect and start a workflow? Four questions over one connection, none of which the others answer:
 * - the health service says that the frontend serves; it does so before anything else is known to work
 * - GetSystemInfo is what every client asks first
 * - DescribeNamespace reads the database: the namespace is there
 * - DescribeWorkflowExecution of a workflow that nobody started goes the way of a start, through the frontend's namespace
 *   cache to the history service, which answers "not found". Without it a server whose parts do not reach each other
 *   looks ready: Temporal 1.9.1 on a single address other than 127.0.0.1 serves, describes, and starts no workflow.
 */
import {
  askGrpc,
  GRPC_NOT_FOUND,
  GRPC_OK,
  GRPC_UNIMPLEMENTED,
  isServing,
  messageField,
  stringField,
  type UnaryCall,
} from './grpc-health.js';

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
    // First and alone: a frontend that is not serving logs an error for every other question.
    if (!(await isServing(call, SERVICE))) return false;
    // Side by side: the first call of each kind takes a starting server 10 to 20 ms.
    const questions = [
      requireSystemInfo(call),
      ...namespaces.flatMap((it) => [requireNamespace(call, it), requireWorkflows(call, it)]),
    ];
    await Promise.all(questions);
    return true;
  });
}

/** Every client asks this when it connects; an old server does not know it. */
async function requireSystemInfo(call: UnaryCall): Promise<void> {
  const { status } = await call(`/${SERVICE}/GetSystemInfo`, Buffer.alloc(0));
  if (status !== GRPC_OK && status !== GRPC_UNIMPLEMENTED) throw new Error(`system information: gRPC status ${status}`);
}

async function requireNamespace(call: UnaryCall, namespace: string): Promise<void> {
  const { status } = await call(`/${SERVICE}/DescribeNamespace`, stringField(1, namespace));
  if (status !== GRPC_OK) throw new Error(`namespace "${namespace}": gRPC status ${status}`);
}

async function requireWorkflows(call: UnaryCall, namespace: string): Promise<void> {
  const execution = messageField(2, stringField(1, NO_WORKFLOW));
  const request = Buffer.concat([stringField(1, namespace), execution]);
  const { status } = await call(`/${SERVICE}/DescribeWorkflowExecution`, request);
  if (status !== GRPC_NOT_FOUND && status !== GRPC_OK) {
    throw new Error(`workflows of namespace "${namespace}": gRPC status ${status}`);
  }
}
