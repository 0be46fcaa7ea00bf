import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [, , port, portFile] = process.argv;
const server = createServer((_request, response) => response.end('served\n'));
server.listen(Number(port), '127.0.0.1', () => {
  if (portFile !== undefined) writeFileSync(portFile, String(server.address().port));
});
