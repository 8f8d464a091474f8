/*
 * A crowd of clients over TLS, spoken to as crowd.c is: `secure.mjs ws|sse PORT PATH COUNT SECONDS` says "connected <us each>" when all have
 * their first list, and after a line on its input the messages a second that came in that time. It is slow itself: what is measured
 * by it is the server's processor time.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { once } from 'node:events';
import tls from 'node:tls';

const [kind, port, path, count, seconds] = process.argv.slice(2);
const HEADERS = { ws: 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
  sse: 'Accept: text/event-stream\r\n' };
let messages = 0;

/* A list has one "entries", which is never cut in two: a list goes out in one record. */
function countLists(data) {
  for (let at = data.indexOf('"entries"'); at >= 0; at = data.indexOf('"entries"', at + 1)) messages++;
}

async function connect() {
  const socket = tls.connect({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false });
  socket.on('data', countLists);
  await once(socket, 'secureConnect');
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${HEADERS[kind]}\r\n`);
}

const began = process.hrtime.bigint();
for (let i = 0; i < Number(count); i += 20) await Promise.all(Array.from({ length: Math.min(20, count - i) }, connect));
while (messages < Number(count)) await new Promise((resolve) => { setTimeout(resolve, 20); });
console.log(`connected ${Number(process.hrtime.bigint() - began) / 1000 / count}`);
process.stdin.once('data', () => {
  messages = 0;
  setTimeout(() => console.log(messages / seconds), seconds * 1000);
});
process.stdin.on('end', () => process.exit());
