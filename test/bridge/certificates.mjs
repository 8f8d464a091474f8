/*
 * Certificates for the tests of TLS, made by openssl: a root, one below it, and servers' of all kinds.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { execFile } from 'node:child_process';
import { writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Runs openssl; what it prints. */
export const openssl = async (args, options = {}) => (await promisify(execFile)('openssl', args, options)).stdout;

const SETTINGS = (directory) => `
[ca]
default_ca = it
[it]
database = ${directory}/index
serial = ${directory}/serial
new_certs_dir = ${directory}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:true
[fat]
basicConstraints = critical,CA:true
nsComment = ${'x'.repeat(60000)}
[server]
subjectAltName = IP:127.0.0.1,DNS:localhost,DNS:board.test
`;

const KEYS = { ec: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'], rsa: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'] };

/** Makes certificates in a directory: `root` is what clients are to trust. */
export class Authority {
  constructor(directory) {
    this.directory = directory;
    this.settings = this.file('openssl.cnf');
    writeFileSync(this.settings, SETTINGS(directory));
    writeFileSync(this.file('index'), '');
    writeFileSync(this.file('serial'), '1000');
  }

  file(name) { return join(this.directory, name); }

  async sign(name, key, by, extensions, [from, to]) {
    const request = this.file(`${name}.req`);
    const issuer = by === name ? ['-selfsign'] : ['-cert', this.file(`${by}.crt`)];
    await openssl(['req', '-new', '-key', key, '-subj', `/CN=${name}`, '-out', request]);
    await openssl(['ca', '-batch', '-notext', '-config', this.settings, '-extensions', extensions, '-startdate', from, '-enddate', to,
      '-keyfile', this.file(`${by}.key`), ...issuer, '-in', request, '-out', this.file(`${name}.crt`)]);
  }

  /** The root and one below it, which signs all others. */
  async start() {
    const always = ['20200101000000Z', '20450101000000Z'];
    for (const [name, by] of [['root', 'root'], ['middle', 'root']]) {
      await openssl(['genpkey', ...KEYS.ec, '-out', this.file(`${name}.key`)]);
      await this.sign(name, this.file(`${name}.key`), by, 'root', always);
    }
    this.root = readFileSync(this.file('root.crt'), 'utf8');
    this.middle = readFileSync(this.file('middle.crt'), 'utf8');
    return this;
  }

  /** A certificate of 60 KB, as text. */
  async fat() {
    await this.sign('fat', this.file('middle.key'), 'root', 'fat', ['20200101000000Z', '20450101000000Z']);
    return readFileSync(this.file('fat.crt'), 'utf8');
  }

  /** A server's: {certificate, key, ca}, as startBridge takes it. The file of the certificate has the one that signed it too. */
  async server(name, { type = 'ec', from = '20200101000000Z', to = '20450101000000Z', bits } = {}) {
    const key = this.file(`${name}.key`);
    await openssl(['genpkey', ...KEYS[type], ...(bits ? ['-pkeyopt', `rsa_keygen_bits:${bits}`] : []), '-out', key]);
    await this.sign(name, key, 'middle', 'server', [from, to]);
    const certificate = this.file(`${name}.crt`);
    writeFileSync(certificate, readFileSync(certificate, 'utf8') + this.middle);
    return { certificate, key, ca: this.root };
  }
}
