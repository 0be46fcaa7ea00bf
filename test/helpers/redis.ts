/** What a redis-server reports of itself: evidence of which process answers on a port. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** PID of the redis-server that answers on the port. @throws when none does */
export async function redisPid(port: number, host = '127.0.0.1'): Promise<number> {
  const socket = connect(port, host).setEncoding('utf8');
  try {
    await once(socket, 'connect');
    socket.write('INFO server\r\n');
    let answer = '';
    for await (const text of socket) {
      answer += text as string;
      const found = /process_id:(\d+)\r/.exec(answer);
      if (found !== null) return Number(found[1]);
    }
    throw new Error(`no redis-server: ${answer}`);
  } finally {
    socket.destroy();
  }
}
