/*
 * The browser of these tests: Debian's chromium, which asks nobody for anything by itself. Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * Environment: CHROMIUM (default /usr/bin/chromium).
 */
import { chromium } from 'playwright-core';

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/** @param {object} [options] further ones of playwright's launch() */
export const launch = (options) => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: QUIET, ...options });
