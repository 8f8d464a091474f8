/*
 * publish/publisher_transaction.h - a transaction of the publisher or its builder
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_PUBLISHER_TRANSACTION_H
#define SCOREBOARD_PUBLISH_PUBLISHER_TRANSACTION_H

/* False if the extension is not there (any more); otherwise an active snapshot is pushed. */
extern bool publisher_try_transaction(void);

/* The publisher's own: ends the process, with the outcome that the launcher reads, where that would be false. */
extern void publisher_begin_transaction(void);
extern void publisher_commit_transaction(void);

/* How long a chore waits for a lock: whoever has locked a table or a row of it holds up no list. */
#define CHORE_PATIENCE_MS 20

/* The same for a chore, of the publisher only: locks are waited for that long. After an error LockTimeout is 0 again by run_chore(). */
extern void publisher_begin_chore(int patience_ms);
extern void publisher_commit_chore(void);

/*
 * With SPI connected: is a dump being restored? Its rows must find our tables empty, and what only some of them are there for must
 * neither be judged nor taken away. If not, none begins before our transaction has ended.
 */
extern bool publisher_sees_restore(void);

/* As publisher_begin_chore(); false, and no transaction, while a dump is being restored. */
extern bool publisher_try_chore(int patience_ms);

#endif
