/*
 * write/event.h - what happened, noted for the outbox
 *
 * Each of these writes one row of scoreboard.pending_event in the caller's transaction and has the publisher give it its
 * position after the commit (publish/outbox.h). Callers ask scoreboard_outbox first: nothing is noted while it is off.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_EVENT_H
#define SCOREBOARD_WRITE_EVENT_H

#include "postgres.h"

#include "write/ledger.h"

extern void event_action_counted(Ledger *ledger, int64 player_id, const char *action_id, const LedgerAction *action);

/* An action was taken back; details are JSON: {"credits": [...]}, what that did to each board. */
extern void event_action_undone(Ledger *ledger, int64 player_id, const char *action_id, const LedgerAction *action, TimestampTz undone_at, const char *details);

/* frozen, banned, restored, hidden, shown */
extern void event_player_moderated(Ledger *ledger, int64 player_id, const char *type);

/* A board's season is over, and the next one began at that moment. Does nothing while the outbox is off. */
extern void event_season_ended(int32 board_id, int32 season, int32 next_season, TimestampTz ended_at);

/* A player of a published list was passed; details as scoreboard.crossings() answers them. */
extern void event_player_overtaken(Ledger *ledger, int32 board_id, int32 season, int64 player_id, int64 by_player_id, const char *details);

/* Once per process, from _PG_init: transaction callback. */
extern void event_init(void);

#endif
