/**
 * Can a client connect and start a workflow? Four questions over one connection, none of which the others answer:
 * - the health service says that the frontend serves; it does so before anything else is known to work
 * - GetSystemInfo is what every client asks first
 * - DescribeNamespace reads the database: the namespace is there
 * - DescribeWorkflowExecution of a workflow that nobody started takes the path of a start, through the frontend's
 *   namespace cache to the history service, which answers "not found". Without this question a server whose services do
 *   not reach each other looks ready: Temporal 1.9.1 on a single address other than 127.0.0.1 serves, describes, and
 *   starts no workflow.
 */
import { askGrpc, GRPC_STATUS, isServing, lengthDelimited, type UnaryCall } from './grpc-health.js';

const SERVICE = 'temporal.api.workflowservice.v1.WorkflowService';

/** No workflow has this ID; if one had, its description would prove as much. */
const NO_WORKFLOW = lengthDelimited(1, 'flock-process-health-check');

type Frontend = { address: string; namespaces: readonly string[]; signal: AbortSignal };

/** Never rejects: a server that cannot be asked, or gives another answer, is not ready. */
export async function canStartWorkflows({ address, namespaces, signal }: Frontend): Promise<boolean> {
  return await askGrpc({ address, signal }, async (call) => {
    // The health service is asked first and alone: a frontend that is not serving logs an error for every other
    // question.
    if (!(await isServing(call, SERVICE))) return false;
    // The rest is asked side by side: the first call of each kind takes a starting server 10 to 20 ms.
    await Promise.all([requireSystemInfo(call), ...namespaces.map((it) => requireNamespace(call, it))]);
    return true;
  });
}

/** An old server does not know GetSystemInfo. */
async function requireSystemInfo(call: UnaryCall): Promise<void> {
  const { status } = await call(`/${SERVICE}/GetSystemInfo`, Buffer.alloc(0));
  const { ok, unimplemented } = GRPC_STATUS;
  if (status !== ok && status !== unimplemented) throw new Error(`system information: gRPC status ${status}`);
}

async function requireNamespace(call: UnaryCall, namespace: string): Promise<void> {
  const name = lengthDelimited(1, namespace);
  const [described, workflow] = await Promise.all([
    call(`/${SERVICE}/DescribeNamespace`, name),
    call(`/${SERVICE}/DescribeWorkflowExecution`, Buffer.concat([name, lengthDelimited(2, NO_WORKFLOW)])),
  ]);
  const { ok, notFound } = GRPC_STATUS;
  const isRight = described.status === ok && [ok, notFound].includes(workflow.status);
  if (isRight) return;
  throw new Error(`namespace "${namespace}": gRPC status ${described.status}, of its workflows ${workflow.status}`);
}
