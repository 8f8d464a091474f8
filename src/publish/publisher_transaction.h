/*
 * publish/publisher_transaction.h - a transaction of the publisher
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_PUBLISHER_TRANSACTION_H
#define SCOREBOARD_PUBLISH_PUBLISHER_TRANSACTION_H

/* Ends the process, with the outcome that the launcher reads, if the extension is not there (any more). An active snapshot is pushed. */
extern void publisher_begin_transaction(void);
extern void publisher_commit_transaction(void);

#endif
