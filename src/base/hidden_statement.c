/*
 * base/hidden_statement.c - a statement that may hold a token, a receipt or a secret stays out of every log
 *
 * Two ways lead from a statement to a log. Our own process's messages, whoever raises them, pass emit_log_hook: there
 * the statement, the context and the query within are taken off. Other processes' messages show what we report as our activity: a deadlock's, with
 * the statements of all who were in it, and the postmaster's about a crash. So the activity is
 * overwritten, in pg_stat_activity too.
 *
 * "The statement" is what the client sent in one message. It is known by the moment at which it came, which stays the same
 * through functions, DO blocks, procedures that commit, and the commit that follows; and by its text, for a portal that is fetched from by several
 * messages.
 *
 * What an administrator writes to a table of secrets by hand calls nothing of ours. An error about a row of such a table is
 * hidden all the same, its DETAIL too.
 *
 * Leaf: calls nothing that raises. No locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "base/hidden_statement.h"

PG_FUNCTION_INFO_V1(scoreboard_hide_statement);

#define HIDDEN_ACTIVITY "<hidden: a statement that called scoreboard, with literals>"

static emit_log_hook_type previous_emit_log = NULL;
static TimestampTz hidden_since = DT_NOBEGIN;	/* when the statement came that is hidden */
static uint64 hidden_text = 0;	/* its text's hash; 0: none */

static uint64
hash_of_statement(void)
{
	if (debug_query_string == NULL)
		return 0;
	return hash_bytes_extended((const unsigned char *) debug_query_string, (int) strlen(debug_query_string), 0);
}

/* A string, quoted either way: '...' or $tag$...$tag$; $1 is none. */
static bool
has_literal(const char *statement)
{
	for (const char *c = statement; *c; c++)
	{
		if (*c == '\'' || (*c == '$' && !(c[1] >= '0' && c[1] <= '9')))
			return true;
	}
	return false;
}

/* Where all values are parameters, administrators may see what runs. */
static void
hide_activity(void)
{
	uint64		query_id;

	if (debug_query_string == NULL || !has_literal(debug_query_string))
		return;
	query_id = pgstat_get_my_query_id();
	pgstat_report_activity(STATE_RUNNING, HIDDEN_ACTIVITY);
	pgstat_report_query_id(query_id, true);
}

void
hide_statement(void)
{
	TimestampTz came = GetCurrentStatementStartTimestamp();

	if (came == hidden_since)
		return;
	hidden_since = came;
	hidden_text = hash_of_statement();
	hide_activity();
}

/* For API functions that aren't in C. */
Datum
scoreboard_hide_statement(PG_FUNCTION_ARGS)
{
	hide_statement();
	PG_RETURN_VOID();
}

static bool
is_hidden(void)
{
	return GetCurrentStatementStartTimestamp() == hidden_since ||
		(hidden_text != 0 && hash_of_statement() == hidden_text);
}

/* A constraint's error shows the row: "Failing row contains (...)", "Key (...)=(...)"; COPY's shows the line. */
static bool
shows_secret(const ErrorData *edata)
{
	static const char *const tables[] = {"signing_key", "session_key", "jwt_key", "pass_key", "tombstone_key"};

	if (edata->table_name && edata->schema_name && strcmp(edata->schema_name, "scoreboard") == 0)
		for (int i = 0; i < lengthof(tables); i++)
			if (strcmp(edata->table_name, tables[i]) == 0)
				return true;
	return false;
}

static void
emit_log(ErrorData *edata)
{
	bool		secret = shows_secret(edata);

	/* For the log and the client alike: this comes before both. */
	if (secret)
		edata->detail = edata->detail_log = NULL;
	if (secret || is_hidden())
	{
		edata->hide_stmt = true;
		edata->hide_ctx = true;
		edata->internalquery = NULL;
		edata->internalpos = 0;
	}
	if (previous_emit_log)
		previous_emit_log(edata);
}

void
hidden_statement_init(void)
{
	previous_emit_log = emit_log_hook;
	emit_log_hook = emit_log;
}
