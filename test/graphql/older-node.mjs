/*
 * older-node.mjs - the one function that PostGraphile 5 takes from Node.js 22 and the node of Debian 12, or 20, has not
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
Promise.withResolvers ??= function withResolvers() {
  let resolve, reject;
  const promise = new this((...both) => { [resolve, reject] = both; });
  return { promise, resolve, reject };
};
