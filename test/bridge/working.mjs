/*
 * Bridges with several workers: who they are, and asking a certain one of them.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import http from 'node:http';
import https from 'node:https';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { startBridge, until } from '../lib/cluster.mjs';

/* Has the worker that is there now read the lists? */
function hasLists(bridge, index) {
  const own = bridge.log.filter(({ worker }) => worker === index + 1);
  return own.findLastIndex(({ msg }) => msg === 'listening to the database') > own.findLastIndex(({ msg }) => msg === 'worker started');
}

/** A bridge of two workers, unless the settings say another number; all have read the lists, unless `how` says ready: false. */
export async function startWorkers(cluster, settings = [], how = {}) {
  const bridge = await startBridge(cluster, [...(settings.includes('--workers') ? [] : ['--workers', '2']), ...settings], how);
  if (how.ready ?? true) await until('all workers to have the lists', () => pids(bridge).every((_, index) => hasLists(bridge, index)));
  return bridge;
}

/** The processes of the workers as they are now, the first worker's first. */
export function pids(bridge) {
  const found = [];
  for (const { msg, worker, pid } of bridge.log) if (msg === 'worker started') found[worker - 1] = pid;
  return found;
}

/* T: stopped. SIGSTOP takes effect a moment after it was sent. */
const isStopped = async (pid) => /\) [Tt] /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''));

/** While the action runs no other worker does: whatever connects comes to this one. */
export async function atWorker(bridge, index, action) {
  const others = pids(bridge).filter((_, i) => i !== index);
  others.forEach((pid) => process.kill(pid, 'SIGSTOP'));
  try {
    for (const pid of others) await until('the other worker to stand still', () => isStopped(pid));
    return await action();
  } finally {
    others.forEach((pid) => process.kill(pid, 'SIGCONT'));
  }
}

/** One request on a connection of its own: {status, headers, text, json}. */
export async function once_(bridge, path, { body, socketPath, ...options } = {}) {
  const module = bridge.tls ? https : http;
  const request = socketPath ? http.request({ socketPath, path, agent: false, ...options })
    : module.request(bridge.url + path, { agent: false, ca: bridge.tls?.ca, ...options });
  request.end(body);
  const [answer] = await once(request, 'response');
  let text = '';
  for await (const piece of answer.setEncoding('utf8')) text += piece;
  return { status: answer.statusCode, headers: answer.headers, text, get json() { return JSON.parse(text); } };
}

/** Kills a worker and waits until another one is in its place. */
export async function killWorker(bridge, index) {
  const pid = pids(bridge)[index];
  process.kill(pid, 'SIGKILL');
  await until('its successor', () => pids(bridge)[index] !== pid);
  await until('it to have the lists', () => hasLists(bridge, index));
}
