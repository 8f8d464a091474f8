/*
 * What a bridge's or a standby's packets to a server go through: it passes them on, loses them silently in one direction or both, or
 * refuses connections.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { once } from 'node:events';
import net from 'node:net';

/** What is lost. */
export const NOTHING = '';
export const REQUESTS = 'requests';
export const ANSWERS = 'answers';
export const BOTH = 'requests answers';

export class Line {
  pairs = new Set();

  lost = NOTHING;

  /** @param {object} target a cluster; may be another one later */
  static async open(target) {
    const line = Object.assign(new Line(), { target, port: 0 });
    line.server = net.createServer({ noDelay: true }, (client) => line.take(client));
    await line.accept();
    return line;
  }

  take(client) {
    const pair = { client, held: [], broken: false };
    this.pairs.add(pair);
    client.on('error', () => {});
    client.on('close', () => this.end(pair));
    if (this.lost) return; /* nobody there heard of it */
    pair.server = net.connect(`${this.target.directory}/.s.PGSQL.5432`);
    pair.server.on('error', () => {});
    pair.server.on('close', () => this.later(pair, ANSWERS, () => this.end(pair)));
    pair.server.on('data', (data) => this.later(pair, ANSWERS, () => client.write(data)));
    client.on('data', (data) => this.later(pair, REQUESTS, () => pair.server.write(data)));
  }

  /* Now, or when the line is whole again; in the order of its direction. */
  later(pair, direction, work) {
    if (this.lost.includes(direction)) pair.held.push(work);
    else work();
  }

  end(pair) {
    this.pairs.delete(pair);
    pair.client.destroy();
    pair.server?.destroy();
  }

  lose(what) { this.lost = what; }

  /** Whole again. Connections that stood come to life with all that was held, or (reset) don't. */
  heal(reset) {
    this.lost = NOTHING;
    for (const pair of [...this.pairs]) {
      if (reset || !pair.server) this.end(pair);
      else pair.held.splice(0).forEach((work) => work());
    }
  }

  async accept() {
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
  }

  /** Connections are refused, those that stand are cut. */
  async refuse() {
    const closed = once(this.server, 'close');
    this.server.close();
    this.heal(true);
    await closed;
  }

  async stop() { if (this.server.listening) await this.refuse(); }
}
