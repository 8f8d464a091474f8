#!/bin/sh
# A board over three servers with many players, one of them killed while players act and its standby promoted: test/t/087_merged_boards.pl
# with so many players beforehand (a million), and how long ranks over all servers took. Takes minutes.
#
#     test/torture/servers.sh [players]
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
set -eu
cd "$(dirname "$0")/../.."
SERVERS_PLAYERS=${1:-1000000} PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-900} make check SUITES=tap ONLY=087_merged
