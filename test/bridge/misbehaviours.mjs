/*
 * What no WebSocket client may do, and the code with which it ends: plain and over TLS.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { frame } from './clients.mjs';

/** The one thing that a client may say. */
export const PING = '{"type":"ping"}';

/** A close frame with this code and reason. */
export const close = (code, reason = '') => frame(Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]), { opcode: 8 });

/** what is sent → the code of the close frame that must come */
export const misbehaviours = {
  'words that are no ping': [1008, frame('hello')],
  'an empty message': [1008, frame('')],
  'another type': [1008, frame('{"type":"subscribe"}')],
  'a ping with more in it': [1008, frame('{"type":"ping","x":1}')],
  'a type given twice': [1008, frame('{"type":"x","type":"ping"}')],
  'a ping in a binary message': [1008, frame(PING, { opcode: 2 })],
  'deep nesting': [1008, frame('['.repeat(4000))],
  'a message over 4 KiB': [1009, frame(' '.repeat(4097))],
  'a message over 4 KiB in pieces': [1009, Buffer.concat([frame(' '.repeat(4000), { final: false }), frame(' '.repeat(97), { opcode: 0 })])],
  'the announcement of a huge frame': [1009, frame(' '.repeat(600), { length: 0x7fffffff })],
  'text that is not UTF-8': [1007, frame([0xff, 0xfe])],
  'text cut in the middle of a character': [1007, frame([0x22, 0xe2, 0x82])],
  'a surrogate in UTF-8': [1007, frame([0xed, 0xa0, 0x80])],
  'an unknown opcode': [1002, frame('x', { opcode: 3 })],
  'an unknown control opcode': [1002, frame('x', { opcode: 11 })],
  'a reserved bit': [1002, frame(PING, { reserved: 4 })],
  'a ping in pieces': [1002, frame('x', { opcode: 9, final: false })],
  'a continuation of nothing': [1002, frame('x', { opcode: 0 })],
  'a message within a message': [1002, Buffer.concat([frame('{', { final: false }), frame(PING)])],
  'a close with a code nobody may send': [1002, frame([3, 0xed], { opcode: 8 })],
  'a close with code 999': [1002, close(999)],
  'a close with code 1004': [1002, close(1004)],
  'a close with code 1006': [1002, close(1006)],
  'a close with code 1016': [1002, close(1016)],
  'a close with code 2999': [1002, close(2999)],
  'a close with code 5000': [1002, close(5000)],
  'a close with code 65535': [1002, close(65535)],
  'a close of one byte': [1002, frame([3], { opcode: 8 })],
  'a close whose reason is not UTF-8': [1007, close(1000, [0xff, 0xfe])],
  'a close whose reason ends within a character': [1007, close(1000, [0xe2, 0x82])],
  'a close with a reason over 123 bytes': [1002, close(1000, 'r'.repeat(124))],
  'a ping over 125 bytes': [1002, frame('x'.repeat(126), { opcode: 9 })],
  'a ping whose length is huge': [1002, frame('x', { opcode: 9, length: 70000 })],
  'a length with its first bit set': [1002, Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x78])],
  'ten thousand fragments': [1009, Buffer.concat([frame('{', { final: false }), ...Array.from({ length: 9999 }, () => frame(' ', { opcode: 0, final: false }))])],
};
