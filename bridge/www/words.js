/*
 * The page's small things: numbers, times and elements. Every text goes in as a text node.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
export const byId = (id) => document.getElementById(id);
export const calm = matchMedia('(prefers-reduced-motion: reduce)');
export const EASE = 'cubic-bezier(.22, 1, .3, 1)';
export const number = new Intl.NumberFormat();
export const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const plural = new Intl.PluralRules('en', { type: 'ordinal' });
const SUFFIX = { one: 'st', two: 'nd', few: 'rd', other: 'th' };

export const ordinal = (n) => number.format(n) + SUFFIX[plural.select(n)];
export const signed = (n) => (n < 0 ? '−' : '+') + number.format(Math.abs(n));

/** What the server says, as a sentence of its own. */
export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

/** How long ago; clocks differ, so the future is now. */
export function age(moment) {
  const seconds = Math.floor((Date.now() - moment.getTime()) / 1000);
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : date.format(moment);
}

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = text;
  return element;
}

/** A name as somebody chose it: it may run the other way than what stands around it. */
export function nameOf(entry, tag = 'b') {
  const element = make(tag, null, entry.displayName);
  element.dir = 'auto';
  return element;
}

/* FNV-1a with a last mix, so that ids which differ in one digit get colours far apart. */
export function hueOf(userId) {
  let hash = 0x811c9dc5;
  for (const letter of userId) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % 360;
}

/** A colour and two letters that stay with the player; pictures from elsewhere would tell their servers who looks. */
export function avatar(entry) {
  const element = make('span', 'avatar');
  element.style.setProperty('--hue', String(hueOf(entry.userId)));
  element.setAttribute('aria-hidden', 'true');
  const words = entry.displayName.match(/[\p{L}\p{N}]+/gu) ?? ['?'];
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  element.textContent = letters.join('').toUpperCase();
  return element;
}
