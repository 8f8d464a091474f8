/*
 * base/hidden_statement.h - a statement that may hold a token, a receipt or a secret stays out of every log
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_HIDDEN_STATEMENT_H
#define SCOREBOARD_BASE_HIDDEN_STATEMENT_H

/*
 * The first thing that an API function does: from now until the client's statement has ended, its commit and
 * FATAL errors included, nothing that is logged shows the statement, parts of it, or its parameters. Never raises.
 */
extern void hide_statement(void);

/* Once per process, from _PG_init: emit_log_hook. */
extern void hidden_statement_init(void);

#endif
