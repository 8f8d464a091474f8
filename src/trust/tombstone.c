/*
 * trust/tombstone.c - players who were forgotten, as long as something that they hold could still be used
 *
 * A player that was erased is unknown, and would appear again with the next action that an old token or receipt allows. A tombstone
 * is a keyed hash of the user_id, with the moment until which such a thing could live. It is looked for only where a player
 * would be added, so who is known pays nothing.
 *
 * Locks: none. Who forgets a player holds its lock (scoreboard_forget), so do its actions.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "trust/tombstone.h"

static SavedPlan find_plan = {
	.text = "SELECT FROM scoreboard.tombstone WHERE digest = scoreboard.tombstone_digest($1) AND expires_at > pg_catalog.clock_timestamp()",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan find_many_plan = {
	.text = "SELECT t.n FROM unnest($1) WITH ORDINALITY AS t (user_id, n) WHERE EXISTS (SELECT FROM scoreboard.tombstone)"
	" AND scoreboard.tombstone_digest(t.user_id) IN (SELECT digest FROM scoreboard.tombstone WHERE expires_at > pg_catalog.clock_timestamp())"
	" ORDER BY t.n LIMIT $2",
	.nargs = 2, .types = {TEXTARRAYOID, INT8OID}
};

bool
tombstone_check(const char *user_id, Refusal *refusal)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};
	int			pin = plan_connect();
	bool		found;

	plan_read(&find_plan, values, NULL, 1);
	found = SPI_processed > 0;
	plan_finish(pin);
	if (!found)
		return true;
	refuse(refusal, REFUSAL_PLAYER_SUSPENDED, NULL, "the player is suspended");
	refusal->nameless = true;
	return false;
}

int64
tombstone_first(Datum user_ids)
{
	Datum		values[2] = {user_ids, Int64GetDatum(1)};

	plan_read(&find_many_plan, values, NULL, 1);
	return SPI_processed == 0 ? 0 : DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

void
tombstone_find(const char **user_ids, int count, bool *forgotten)
{
	Datum	   *texts = palloc(Max(count, 1) * sizeof(Datum));
	Datum		values[2];

	for (int i = 0; i < count; i++)
		texts[i] = CStringGetTextDatum(user_ids[i]);
	values[0] = PointerGetDatum(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(count);
	plan_read(&find_many_plan, values, NULL, 0);
	memset(forgotten, 0, count * sizeof(bool));
	for (uint64 i = 0; i < SPI_processed; i++)
		forgotten[DatumGetInt64(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1)) - 1] = true;
}
