/*
 * What a service does that fans a list out with npm's ws: one message for all, as often as they take it.
 *
 *	node ws.mjs PORT FILE
 *
 * Like the bridge it holds no queue for a slow client: who has not taken the last message is left out of the round.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { readFileSync } from 'node:fs';
import { WebSocketServer } from 'ws';

const [port, file] = process.argv.slice(2);
const message = readFileSync(file);
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), perMessageDeflate: false, backlog: 4096 });

function round() {
  for (const client of server.clients) if (client.bufferedAmount === 0) client.send(message, { binary: false });
  setImmediate(round);
}

server.on('connection', (client) => client.on('error', () => {}));
server.on('listening', () => console.log('listening'));
process.stdin.once('data', round); /* not before all are connected */
