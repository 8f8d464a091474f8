/*
 * trust/trusted_request.c - what a layer like PostgREST says of the HTTP request that it carries out
 *
 * Anybody who can run SQL can set request.jwt.claims. What counts is the role
 * that logged in: SET ROLE doesn't change it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "scoreboard.h"
#include "base/refusal.h"
#include "plain/guard.h"
#include "trust/trusted_request.h"

PG_FUNCTION_INFO_V1(scoreboard_names_in);

static bool
session_is_trusted(void)
{
	char	   *list;
	char	   *session;
	List	   *names;
	ListCell   *cell;

	if (scoreboard_trusted_request_roles == NULL || scoreboard_trusted_request_roles[0] == '\0')
		return false;
	list = pstrdup(scoreboard_trusted_request_roles);
	if (!SplitIdentifierString(list, ',', &names))
		return false;			/* a list that can't be read trusts nobody */
	session = GetUserNameFromId(GetSessionUserId(), true);
	if (session == NULL)
		return false;
	foreach(cell, names)
		if (strcmp(lfirst(cell), session) == 0)
			return true;
	return false;
}

const char *
trusted_request_variable(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	if (value == NULL || value[0] == '\0' || !session_is_trusted())
		return NULL;
	return value;
}

bool
trusted_request_headers(RequestHeaders *headers)
{
	const char *text = trusted_request_variable("request.headers");

	const char *why;

	if (text == NULL)
		return false;
	why = request_headers_read(text, strlen(text), scoreboard_forwarded_hops, headers);
	if (why == guard_no_memory)
		raise_no_memory();
	return why == NULL;
}

/* scoreboard.names_in(list text) returns text[]: as session_is_trusted() reads them */
Datum
scoreboard_names_in(PG_FUNCTION_ARGS)
{
	List	   *names;
	ListCell   *cell;
	Datum	   *texts;
	int			count = 0;

	if (!SplitIdentifierString(text_to_cstring(PG_GETARG_TEXT_PP(0)), ',', &names))
		names = NIL;
	texts = palloc(Max(list_length(names), 1) * sizeof(Datum));
	foreach(cell, names)
		texts[count++] = CStringGetTextDatum(lfirst(cell));
	PG_RETURN_ARRAYTYPE_P(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}
