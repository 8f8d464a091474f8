/*
 * trust/authenticate.c - who a token stands for, for a gateway that keeps a connection open
 *
 * A stream has no call of its own that could carry its token, so the bridge asks once, closes it when the token expires, and
 * judges by the permissions which boards it may have. It gets a pass as well, by which it is told where the player stands
 * (trust/pass.c).
 *
 * Tickets stand in an unlogged table, of which a standby has nothing. One is made in SQL (scoreboard.make_ticket), under the lock that
 * is taken here.
 *
 * Owns no state, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/config_cache.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/refusal.h"
#include "trust/pass.h"
#include "trust/token.h"

PG_FUNCTION_INFO_V1(scoreboard_authenticate);
PG_FUNCTION_INFO_V1(scoreboard_lock_tickets);

#define IDENTITY_COLUMNS 3
#define BRIDGE_COLUMNS 4		/* a pass besides */

static ArrayType *
permissions_array(const List *permissions)
{
	Datum	   *texts = palloc(sizeof(Datum) * Max(list_length(permissions), 1));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, permissions)
		texts[count++] = CStringGetTextDatum((char *) lfirst(cell));
	return construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT);
}

static void
set_pass(const TokenIdentity *identity, Datum *value, bool *null)
{
	char	   *pass = pass_make(identity->user_id, identity->expires_at);

	*null = pass == NULL;
	*value = pass ? CStringGetTextDatum(pass) : (Datum) 0;
}

/* scoreboard_authenticate(token text) -> (user_id, expires_at, permissions); scoreboard.authenticate(token text) -> (the same, pass) */
Datum
scoreboard_authenticate(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	TokenIdentity identity;
	Refusal		refusal = {0};
	Datum		values[BRIDGE_COLUMNS];
	bool		nulls[BRIDGE_COLUMNS] = {false};

	hide_statement();
	config_begin_call();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || (desc->natts != IDENTITY_COLUMNS && desc->natts != BRIDGE_COLUMNS))
		elog(ERROR, "scoreboard_authenticate must return %d or %d columns", IDENTITY_COLUMNS, BRIDGE_COLUMNS);
	if (!token_identify(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), &identity, &refusal))
		refusal_raise(&refusal);
	values[0] = CStringGetTextDatum(identity.user_id);
	values[1] = TimestampTzGetDatum((identity.expires_at - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC);
	values[2] = PointerGetDatum(permissions_array(identity.permissions));
	if (desc->natts == BRIDGE_COLUMNS)
		set_pass(&identity, &values[3], &nulls[3]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* scoreboard.lock_tickets(user_id text) */
Datum
scoreboard_lock_tickets(PG_FUNCTION_ARGS)
{
	hide_statement();
	ticket_lock_acquire(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
