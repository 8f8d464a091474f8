/*
 * scoreboard.h - what every file may know: bounds, settings, the secret of the hashes
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_H
#define SCOREBOARD_H

#include "postgres.h"

#define SCOREBOARD_EXTENSION "scoreboard"

/* Every score, every points value: what each JSON reader holds exactly. */
#define SCOREBOARD_SCORE_MAX INT64CONST(9007199254740991)	/* 2^53 - 1 */

/* An absent subscore, where one must be a number: ranks last, whichever way subscores are ordered. */
#define NO_SUBSCORE PG_INT64_MAX

#define SCOREBOARD_NAME_MAX 63	/* board, action type, key id; bytes */
#define SCOREBOARD_ID_MAX 255	/* user_id, action_id; characters */

/* Settings (scoreboard.c defines them and says why one would change them). */
extern char *scoreboard_audience;
extern char *scoreboard_trusted_request_roles;
extern int	scoreboard_forwarded_hops;
extern int	scoreboard_rate_limit;	/* attempts a minute; 0 = off */
extern int	scoreboard_burst_limit; /* attempts a second; 0 = off */
extern int	scoreboard_board_rate_limit;	/* on each board, where it has none of its own */
extern int	scoreboard_board_burst_limit;
extern int	scoreboard_rate_memory; /* kB */
extern int	scoreboard_receipt_window;	/* seconds */
extern int	scoreboard_rank_memory; /* kB */
extern int	scoreboard_lookup_memory;	/* kB; 0 = off */
extern int	scoreboard_rank_wait;	/* milliseconds */
extern int	scoreboard_max_scans;
extern int	scoreboard_moderation_wait; /* milliseconds */
extern char *scoreboard_verify_at;	/* a time of day, or off */
extern int	scoreboard_anomaly_interval;	/* seconds; 0 = off */
extern int	scoreboard_verifier_timeout;	/* milliseconds */
extern int	scoreboard_refusals_kept;	/* rows */
extern bool scoreboard_outbox;
extern int	scoreboard_event_retention; /* seconds */
extern int	scoreboard_log_refusals;	/* lines a second; 0 = off */

/*
 * Secret of this server's life, drawn at its start: seeds every hash of an id
 * that decides about locks or rate windows, so that nobody can choose ids that
 * collide. Set once before any backend starts.
 */
extern uint64 scoreboard_hash_key(int which);	/* which: 0 or 1 */

#endif
