/*
 * publish/outbox.h - events get their positions, and go when they have been kept long enough
 *
 * For the publisher only.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_OUTBOX_H
#define SCOREBOARD_PUBLISH_OUTBOX_H

#include "postgres.h"

#include "base/config_cache.h"

/* A chore: are there events to be numbered; numbers some. False: a restore is under way, later. */
extern bool outbox_pending(void);
extern bool outbox_number(void);

/* One slice of what was kept long enough, in the caller's transaction with SPI connected. True if there may be more. */
extern bool outbox_purge(void);

/*
 * In the transaction that stores a list: notes who of the one before was passed by somebody. Entries is the document's end, as
 * document_entries() makes it.
 */
extern void outbox_note_crossings(const Board *board, int32 season, int64 version, const char *old_document, const char *entries);

#endif
