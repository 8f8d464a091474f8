/*
 * Who looks: a token pasted into the dialog, given in the address as #token=..., or of a demo's player.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * A token in the address is taken out of it, and of the history, before anything else happens. It is kept for this tab only (a reload
 * shall not sign out), and given to nobody but the bridge, in the Authorization header.
 */
import { byId, make } from './words.js';

const KEY = 'scoreboard-token';

/* The browser may refuse to store anything. */
const stored = {
  get: () => { try { return sessionStorage.getItem(KEY); } catch { return null; } },
  set: (token) => { try { if (token) sessionStorage.setItem(KEY, token); else sessionStorage.removeItem(KEY); } catch { /* for this page then */ } },
};

/* The form alone; what it is worth is the server's to say. */
const isToken = (text) => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);

let token = takeFromAddress() ?? stored.get();
let changed = () => {};

function takeFromAddress() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const given = hash.get('token');
  if (given === null) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  if (!isToken(given)) return null;
  stored.set(given);
  return given;
}

export const currentToken = () => token;

/** For a reason that is shown, or because the player wants to. */
export function signOut(why = '') {
  if (token === null) return;
  token = null;
  stored.set(null);
  draw(why);
  changed();
}

function signIn(given) {
  token = given;
  stored.set(given);
  draw();
  byId('sign-out').focus();
  changed();
}

function draw(why = '') {
  byId('sign-in').hidden = token !== null;
  byId('sign-out').hidden = token === null;
  byId('sign-why').textContent = why;
}

/* A demo names a file of its players in the page; nothing is asked for elsewhere. */
async function offerPlayers() {
  const link = document.querySelector('link[rel="demo-players"]');
  if (!link) return;
  const players = await fetch(link.href).then((response) => (response.ok ? response.json() : []), () => []);
  for (const { name, token: theirs } of players) {
    const button = make('button', 'player', name);
    button.type = 'button';
    button.dir = 'auto';
    button.addEventListener('click', () => { byId('sign-dialog').close(); signIn(theirs); });
    const item = make('li');
    item.append(button);
    byId('demo-players').append(item);
  }
  byId('demo').hidden = players.length === 0;
}

/** @param {function()} onChange called when somebody signs in or out */
export function startSigning(onChange) {
  changed = onChange;
  byId('sign-in').addEventListener('click', () => byId('sign-dialog').showModal());
  byId('sign-cancel').addEventListener('click', () => byId('sign-dialog').close());
  byId('sign-out').addEventListener('click', () => {
    signOut();
    byId('sign-in').focus();
  });
  byId('sign-form').addEventListener('submit', (event) => {
    event.preventDefault(); /* the policy of this page lets no form go anywhere */
    const given = byId('token').value.trim();
    byId('token').value = '';
    byId('sign-dialog').close();
    if (isToken(given)) signIn(given);
    else if (given) draw('That is no token.');
  });
  addEventListener('hashchange', () => {
    const given = takeFromAddress();
    if (given) signIn(given);
  });
  draw();
  offerPlayers();
}
