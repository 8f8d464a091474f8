/*
 * The bridge's contracts as a test needs them: does a request keep to openapi.json, does an answer, does a message to asyncapi.json?
 *
 * Whoever reads a contract has to expect more members and headers than it names. The bridge has not: what it says and the contract
 * doesn't name is a complaint here, so that the contract stays whole.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import Ajv from 'ajv';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

/* What the connection is about, and what pages of other origins get: said once in the contract's introduction. */
const UNNAMED = /^(date|connection|content-length|content-type|vary|access-control-.*)$/;

/* The document as a schema's root: its parts are named by pointers into it. */
const KEYWORDS = ['openapi', 'jsonSchemaDialect', 'asyncapi', 'info', 'servers', 'tags', 'paths', 'channels', 'operations', 'components', 'defaultContentType'];

function validator(Kind, document) {
  const ajv = new Kind({ strict: true, strictTypes: false, strictRequired: false, allErrors: true, allowUnionTypes: true });
  (addFormats.default ?? addFormats)(ajv);
  ajv.addVocabulary(KEYWORDS);
  ajv.addSchema(document, 'contract');
  return ajv;
}

/** A copy in which an object takes no members but those that are named. */
function closed(value) {
  if (Array.isArray(value)) return value.map(closed);
  if (value === null || typeof value !== 'object') return value;
  const copy = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, closed(part)]));
  return copy.type === 'object' && copy.properties && !('additionalProperties' in copy) ? { ...copy, additionalProperties: false } : copy;
}

const pointer = (...parts) => parts.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

export class Contract {
  constructor(Kind, document) {
    this.document = document;
    this.open = validator(Kind, document);
    this.closed = validator(Kind, closed(document));
  }

  /** What a reference leads to, and where that stands: {value, at}. */
  at(...parts) {
    let value = this.document;
    let at = '';
    for (const part of parts) {
      value = value?.[part];
      at += pointer(part);
      while (value?.$ref && !value.$ref.startsWith('#/components/schemas/')) {
        at = value.$ref.slice(1);
        value = at.slice(1).split('/').reduce((object, name) => object?.[name.replaceAll('~1', '/').replaceAll('~0', '~')], this.document);
      }
    }
    return { value, at };
  }

  /** What is wrong with a value, as sentences; `at` points to the schema. */
  complaints(ajv, at, value) {
    const validate = ajv.getSchema(`contract#${encodeURI(at)}`);
    assert.ok(validate, `no schema at ${at}`);
    return validate(value) ? [] : validate.errors.map(({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`);
  }

  /** Every schema that has a name compiles, describes what it requires, and takes its own examples and default. */
  checkSchemas() {
    for (const [name, schema] of Object.entries(this.document.components.schemas)) {
      for (const required of schema.required ?? []) assert.ok(required in schema.properties, `${name} ${required}`);
      for (const ajv of [this.open, this.closed]) {
        for (const example of [...schema.examples ?? [], ...'default' in schema ? [schema.default] : []]) {
          assert.deepEqual(this.complaints(ajv, `/components/schemas/${name}`, example), [], name);
        }
        assert.ok(ajv.getSchema(`contract#/components/schemas/${name}`), name);
      }
    }
  }
}

/* ---- HTTP ---- */

export class HttpContract extends Contract {
  constructor(document) { super(Ajv2020, document); }

  /** [{path, method, id}] of all operations. */
  operations() {
    return Object.entries(this.document.paths).flatMap(([path, item]) => ['get', 'put', 'post', 'delete', 'patch', 'head', 'options']
      .filter((method) => item[method]).map((method) => ({ path, method: method.toUpperCase(), id: item[method].operationId })));
  }

  operation(id) { return this.operations().find((one) => one.id === id) ?? assert.fail(`no operation ${id}`); }

  /** [{name, in, required, schema, at}]. */
  parameters(id) {
    const { path, method } = this.operation(id);
    return (this.at('paths', path, method.toLowerCase(), 'parameters').value ?? []).map((_, i) => {
      const { value, at } = this.at('paths', path, method.toLowerCase(), 'parameters', i);
      return { ...value, at: `${at}/schema` };
    });
  }

  /** Names of what may stand in the query: parameters, and what shows who asks. */
  queryNames(id) {
    const { path, method } = this.operation(id);
    const schemes = (this.document.paths[path][method.toLowerCase()].security ?? []).flatMap(Object.keys).map((name) => this.document.components.securitySchemes[name]);
    return [...this.parameters(id), ...schemes].filter((one) => one.in === 'query').map(({ name }) => name);
  }

  statuses(id) {
    const { path, method } = this.operation(id);
    return Object.keys(this.at('paths', path, method.toLowerCase(), 'responses').value).map(Number);
  }

  /* Text as what its schema wants: numbers in plain digits, lists with commas. */
  read(text, { schema }) {
    const { type } = schema.$ref ? this.document.components.schemas[schema.$ref.split('/').at(-1)] : schema;
    if (type === 'integer' && /^-?\d+$/.test(text)) return Number(text);
    return type === 'array' ? text.split(',') : text;
  }

  /** What is wrong with a request: {query: 'a=b', headers: {lower case: text}, path: {item: text}, body: text}. */
  requestComplaints(id, { query = '', headers = {}, items = {}, body }) {
    const known = this.parameters(id);
    const given = [...new URLSearchParams(query)];
    const unknown = given.filter(([name]) => !this.queryNames(id).includes(name)).map(([name]) => `no parameter ${name}`);
    const twice = given.filter(([name], i) => given.findIndex(([other]) => other === name) !== i).map(([name]) => `${name} twice`);
    const values = { query: Object.fromEntries(given), header: headers, path: items };
    const wrong = known.flatMap((one) => {
      const value = values[one.in][one.in === 'header' ? one.name.toLowerCase() : one.name];
      if (value === undefined) return one.required ? [`${one.name} is missing`] : [];
      return this.complaints(this.open, one.at, this.read(value, one)).map((text) => `${one.name}: ${text}`);
    });
    return [...unknown, ...twice, ...wrong, ...this.bodyComplaints(id, body)];
  }

  bodyComplaints(id, body) {
    const { path, method } = this.operation(id);
    const { value, at } = this.at('paths', path, method.toLowerCase(), 'requestBody');
    if (value === undefined) return body === undefined ? [] : ['a body'];
    if (body === undefined) return value.required ? ['no body'] : [];
    let json;
    try { json = JSON.parse(body); } catch { return ['no JSON']; }
    return this.complaints(this.open, `${at}/content/application~1json/schema`, json);
  }

  /** What is wrong with an answer: {status, headers: {lower case: text}, text}. */
  answerComplaints(id, { status, headers, text }) {
    const { path, method } = this.operation(id);
    const { value, at } = this.at('paths', path, method.toLowerCase(), 'responses', String(status));
    return value === undefined ? [`no status ${status}`] : [...this.headerComplaints(at, value, headers), ...this.contentComplaints(at, value, headers, text)];
  }

  headerComplaints(at, response, headers) {
    const named = Object.keys(response.headers ?? {});
    const unnamed = Object.keys(headers).filter((name) => !UNNAMED.test(name) && !named.some((one) => one.toLowerCase() === name));
    return [...unnamed.map((name) => `header ${name} is not named`), ...named.flatMap((name) => {
      const { value, at: where } = this.at(...at.slice(1).split('/').map((part) => part.replaceAll('~1', '/')), 'headers', name);
      const text = headers[name.toLowerCase()];
      if (text === undefined) return value.required ? [`header ${name} is missing`] : [];
      return this.complaints(this.closed, `${where}/schema`, this.read(text, value)).map((complaint) => `${name}: ${complaint}`);
    })];
  }

  contentComplaints(at, response, headers, text) {
    const type = headers['content-type']?.split(';')[0];
    const types = Object.keys(response.content ?? {});
    if (types.length === 0) return text === '' && type === undefined ? [] : ['a body'];
    if (!types.includes(type)) return [`type ${type}`];
    const value = type === 'application/json' ? JSON.parse(text) : text;
    return this.complaints(this.closed, `${at}/content/${type.replace('/', '~1')}/schema`, value);
  }
}

/* ---- streams ---- */

export class StreamContract extends Contract {
  constructor(document) { super(Ajv, document); }

  /* The channel's messages that the bridge sends, or those that it takes. */
  messages(channel, action) {
    const operations = Object.values(this.document.operations).filter((one) => one.channel.$ref === `#/channels/${channel}`);
    const lists = action === 'send' ? operations.map((one) => (one.action === 'send' ? one.messages : one.reply?.messages ?? []))
      : operations.filter((one) => one.action === 'receive').map((one) => one.messages);
    return lists.flat().map(({ $ref }) => $ref.split('/').at(-1));
  }

  /** The name of the one message that a text is; fails where it is none. action: send or receive, as the bridge sees it; fields: an event's. */
  recognise(channel, action, text, fields) {
    const complaints = this.messages(channel, action).map((name) => [name, this.messageComplaints(channel, name, text, fields)]);
    const matching = complaints.filter(([, list]) => list.length === 0);
    assert.equal(matching.length, 1, `${text} is ${matching.length} messages: ${JSON.stringify(complaints)}`);
    return this.at('channels', channel, 'messages', matching[0][0]).value.name;
  }

  messageComplaints(channel, name, text, fields) {
    const { value, at } = this.at('channels', channel, 'messages', name);
    return [...this.complaints(this.closed, `${at}/payload`, JSON.parse(text)),
      ...value.headers ? this.complaints(this.closed, `${at}/headers`, fields) : []];
  }
}
