/**
 * A server that needs nothing but Node, for the demo on a machine without Temporal: `node small-server.mjs PORT`.
 * It knows nothing of locks: it inherits one, and leaves the descriptor alone.
 */
// @ts-check
import { createServer } from 'node:http';

const port = Number(process.argv[2]);
const server = createServer((_request, response) => response.end('hello\n'));
server.listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}, PID ${process.pid}`));
