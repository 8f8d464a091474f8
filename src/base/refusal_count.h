/*
 * base/refusal_count.h - how many increments were refused on each board, and why
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_REFUSAL_COUNT_H
#define SCOREBOARD_BASE_REFUSAL_COUNT_H

#include "postgres.h"

/* What is being stored, with SPI connected. */
typedef struct RefusalCounts RefusalCounts;

extern RefusalCounts *refusal_counts_begin(void);

/* What names no board that there is counts nowhere. */
extern void refusal_counts_add(RefusalCounts *counts, const char *board, const char *code, int64 refusals);
extern void refusal_counts_store(RefusalCounts *counts);

/* Those of boards that are gone. Within a transaction, SPI connected. True if there may be more. */
extern bool refusal_counts_purge(void);

#endif
