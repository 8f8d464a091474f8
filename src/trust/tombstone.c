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
	" ORDER BY t.n LIMIT 1",
	.nargs = 1, .types = {TEXTARRAYOID}
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
	Datum		values[1] = {user_ids};

	plan_read(&find_many_plan, values, NULL, 1);
	return SPI_processed == 0 ? 0 : DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}
