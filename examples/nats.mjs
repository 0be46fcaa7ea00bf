/**
 * A preset of your own, here for nats-server: a function from options to a spec. A program then uses it as it uses the
 * Temporal preset, here for a server that is thrown away at the end.
 *
 *     node examples/nats.mjs
 *     node examples/nats.mjs --command=/opt/nats/nats-server
 */
// @ts-check
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startEphemeral } from 'flock-process';

/**
 * Everything is optional: startEphemeral() fills in a folder and a free port.
 * @typedef {{ stateDir?: string, port?: number, command?: string, jetStream?: boolean }} NatsOptions
 */

/**
 * nats-server on the loopback address. It counts as ready when it answers a PING of its own protocol.
 * The default folder is an absolute path: it is a part of an argument, and nothing expands a `~` in arguments.
 * @param {NatsOptions} options `jetStream`: it keeps streams, below `stateDir`
 * @returns {import('flock-process').ProcessSpec}
 */
function natsServer({
  stateDir = join(homedir(), '.my-tool'),
  port = 4222,
  command = 'nats-server',
  jetStream = false,
}) {
  return {
    name: 'nats',
    command,
    args: [
      ...['--addr', '127.0.0.1', '--port', String(port)],
      ...(jetStream ? ['--jetstream', '--store_dir', join(stateDir, 'nats-data')] : []),
    ],
    port,
    stateDir,
    isHealthy: async ({ address = '' }, signal) => (await talk(address, 'PING\r\n', 'PONG\r\n', signal)) !== '',
    installHint: 'Install nats-server: https://docs.nats.io/running-a-nats-service/introduction/installation',
  };
}
/** The options that startEphemeral() and startShared() use when the caller gives no others. */
natsServer.forTests = { jetStream: true };

const { values } = parseArgs({ options: { command: { type: 'string', default: 'nats-server' } } });
const nats = await startEphemeral(natsServer, { command: values.command });
try {
  console.log(`nats is ready on ${nats.address}, PID ${nats.pid}`);
  await request('$JS.API.STREAM.CREATE.GREETINGS', '{ "name": "GREETINGS", "subjects": ["greetings"] }');
  const echo = await talk(nats.address, `SUB echo 1\r\n${published('echo', 'hello')}`, 'hello\r\n');
  console.log(`a message came back: ${/MSG echo 1 5\r\n(.*)\r\n/.exec(echo)?.[1]}`);
  // JetStream answers with the number of the message once it has stored it.
  console.log(`stored by JetStream: ${JSON.parse(await request('greetings', 'hello')).seq}`);
} finally {
  await nats.stop();
}

/** Asks the server, and resolves with its answer. @param {string} subject @param {string} [question] */
async function request(subject, question = '') {
  const text = `SUB answers 1\r\n${published(subject, question, 'answers')}`;
  const received = await talk(nats.address, text, '}\r\n');
  return /MSG answers 1 \d+\r\n(.*)\r\n$/s.exec(received)?.[1] ?? '';
}

/** The line of the protocol by which a message is published. @param {string} subject @param {string} message */
function published(subject, message, answersTo = '') {
  return `PUB ${subject} ${answersTo} ${Buffer.byteLength(message)}\r\n${message}\r\n`;
}

/**
 * Sends the text, and resolves with what the server has sent when that ends with `until`; with nothing when it closes before.
 * @param {string} address @param {string} text @param {string} until @param {AbortSignal} [signal]
 */
async function talk(address, text, until, signal = AbortSignal.timeout(5_000)) {
  const [host = '', port] = address.split(':');
  const socket = connect({ host, port: Number(port), signal });
  socket.setEncoding('utf8').write(`CONNECT {"verbose":false}\r\n${text}`);
  let received = '';
  for await (const part of socket) {
    received += part;
    // The first line is the server's introduction, which is a JSON object as well.
    if (received.indexOf('\r\n') < received.length - 2 && received.endsWith(until)) return received;
  }
  return '';
}
