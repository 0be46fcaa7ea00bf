// @ts-check
import { randomInt } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';

/**
 * The range of test/helpers/resources.ts. It lies below the ports that systems give to outgoing connections and to servers that ask for
 * any port, so a port stays free for as long as it is needed.
 */
const PORTS = { first: 10_000, last: 32_000 };
const CLAIMS = '/tmp/flock-process-test-ports';

/** @returns {Promise<number>} a TCP port of 127.0.0.1 on which nobody listens, and which no other test or check gets */
export async function freePort() {
  for (let port = randomInt(PORTS.first, PORTS.last); ; port = port < PORTS.last ? port + 1 : PORTS.first) {
    if (claim(port) && (await canListen(port))) return port;
  }
}

/** Claims the port for this check; the tests remove old claims. @param {number} port */
function claim(port) {
  if (mkdirSync(CLAIMS, { recursive: true }) !== undefined) chmodSync(CLAIMS, 0o777); // some tests run as another user
  try {
    mkdirSync(`${CLAIMS}/${port}`);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    return false;
  }
}

/** @param {number} port */
async function canListen(port) {
  const server = createServer();
  const isListening = await new Promise((resolve) =>
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)),
  );
  if (isListening) await new Promise((closed) => server.close(closed));
  return isListening;
}
