/*
 * read/document.h - a board's top list as JSON text, built in one place for the publisher and the readers
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_READ_DOCUMENT_H
#define SCOREBOARD_READ_DOCUMENT_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#include "base/config_cache.h"
#include "base/season.h"
#include "read/listing.h"

/*
 * The best top_size players as committed now, as the text of the document's
 * last member: "entries":[…], and the list itself, with the count of the same
 * moment. From the rank index, counted by SQL where that can't answer (without
 * the readers' limits: for the publisher). Needs a transaction; connects to SPI
 * by itself; all of it is allocated in the caller's memory context.
 */
extern char *document_entries(const Board *board, int32 season, Listing *listing);

/*
 * The same of a stored document's list, with other users, names and pictures: those of as many rows as it has entries. NULL where it hasn't
 * as many, or isn't one.
 */
extern char *document_renamed(const char *document, const ListedRow *rows, int count);

/* The whole document around such a text. */
extern char *document_assemble(const Board *board, int32 season, const CalendarSpan *span, int64 version,
							   TimestampTz updated_at, int64 players, const char *entries);

/* Does the stored document show exactly this list? Compares text, reads nothing. */
extern bool document_shows(const char *document, const char *entries);

/* Does it say that there are so many players? */
extern bool document_counts(const char *document, int64 players);

/* Is it a board's of that name? */
extern bool document_is_of(const char *document, const Board *board);

/* Is the end of its season not in it? */
extern bool document_is_open(const char *document);

/* A copy of a stored document that keeps the first "keep" entries only. */
extern char *document_cut(const char *document, int keep);

/* {"rank","userId","displayName","avatarUrl"?,"score","subscore"?,"detail"?,"movement"?}, a list of those, and what stands between the braces. */
extern void document_append_entry(StringInfo text, const ListedRow *row);
extern void document_append_entries(StringInfo text, const ListedRow *rows, int count);
extern void document_append_player(StringInfo text, const ListedRow *row);

/* How much of a list stands behind, in per cent. */
extern void document_append_percentile(StringInfo text, int64 behind, int64 players);

/* A JSON string: RFC 3339, UTC, milliseconds, Z; with its quotation marks. */
extern void document_append_time(StringInfo text, TimestampTz moment);

/* A JSON string with its quotation marks. */
extern void document_append_string(StringInfo text, const char *value);

#endif
