/*
 * read/standing.c - a player as one board's tables have it, and where it stands
 *
 * A player's key is read from the table, its rank from the index, and between
 * the two somebody may commit. So the key must stand in the index at the moment
 * at which the rank is taken, or all of it is done again; after STANDING_TRIES the rank is counted by SQL.
 *
 * Owns nothing, takes no lock but ACCESS SHARE on what it reads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/tables.h"
#include "rank/scan.h"
#include "read/listing.h"
#include "read/standing.h"

#define STANDING_PAUSE 200L		/* microseconds */

static void
open_score(const Reading *reading, Table *score)
{
	tables_open(score, TABLE_SCORE, TABLE_FIND, AccessShareLock);
	tables_key_int4(score, SCORE_BOARD_ID, reading->board.board_id);
	tables_key_int4(score, SCORE_SEASON, reading->season);
}

/* Reads the player's key, where there is a score; false where it stands in no list. */
static bool
read_key(Table *score, Snapshot snapshot, RankKey *key)
{
	tables_key_int8(score, SCORE_PLAYER_ID, key->player_id);
	if (!tables_find(score, snapshot))
		return false;
	*key = rank_key_read(&score->layout, score->slot);
	return tables_bool(score, SCORE_LISTED);
}

bool
standing_read(const Reading *reading, const char *user_id, Standing *standing)
{
	Snapshot	snapshot;
	Table		player;
	Table		score;
	bool		found,
				shown;

	memset(standing, 0, sizeof(*standing));
	standing->user_id = pstrdup(user_id);
	standing->display_name = pstrdup("Player"); /* who has no number yet */
	tables_open(&player, TABLE_PLAYER, TABLE_FIND, AccessShareLock);
	tables_key_text(&player, PLAYER_USER_ID, user_id);
	open_score(reading, &score);
	snapshot = tables_committed();
	found = tables_find(&player, snapshot);
	if (found)
	{
		standing->key.player_id = tables_int8(&player, PLAYER_ID);
		shown = !tables_bool(&player, PLAYER_ANONYMOUS);
		standing->display_name = listing_label(shown ? tables_text(&player, PLAYER_DISPLAY_NAME) : NULL, standing->key.player_id);
		standing->avatar_url = shown ? tables_text(&player, PLAYER_AVATAR_URL) : NULL;
		standing->listed = read_key(&score, snapshot, &standing->key);
	}
	tables_close(&score);
	tables_close(&player);
	UnregisterSnapshot(snapshot);
	return found;
}

void
standing_read_keys(const Reading *reading, char *const *user_ids, int count, RankKey *keys, bool *listed)
{
	Snapshot	snapshot;
	Table		player;
	Table		score;

	tables_open(&player, TABLE_PLAYER, TABLE_FIND, AccessShareLock);
	open_score(reading, &score);
	snapshot = tables_committed();
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		keys[i] = (RankKey) {0};
		listed[i] = false;
		tables_key_text(&player, PLAYER_USER_ID, user_ids[i]);
		if (!tables_find(&player, snapshot))
			continue;
		keys[i].player_id = tables_int8(&player, PLAYER_ID);
		listed[i] = read_key(&score, snapshot, &keys[i]);
	}
	tables_close(&score);
	tables_close(&player);
	UnregisterSnapshot(snapshot);
}

bool
standing_reread_key(const Reading *reading, RankKey *key)
{
	Table		score;
	Snapshot	snapshot;
	bool		listed;

	open_score(reading, &score);
	snapshot = tables_committed();
	listed = read_key(&score, snapshot, key);
	tables_close(&score);
	UnregisterSnapshot(snapshot);
	return listed;
}

IndexAnswer
standing_in_index(const Reading *reading, const RankKey *key, RankStanding *at)
{
	if (!rank_index_standing_of(&reading->board, reading->season, key, at))
		return INDEX_CANT;
	return at->rank > 0 ? INDEX_ANSWERED : INDEX_MOVED;
}

void
standing_pause(void)
{
	CHECK_FOR_INTERRUPTS();
	pg_usleep(STANDING_PAUSE);
}

bool
standing_find(const Reading *reading, Standing *standing, RankStanding *at)
{
	for (int i = 0; i < STANDING_TRIES; i++)
	{
		switch (standing_in_index(reading, &standing->key, at))
		{
			case INDEX_ANSWERED:
				return true;
			case INDEX_MOVED:
				standing_pause();
				if (!standing_read(reading, standing->user_id, standing) || !standing->listed)
					return false;
				break;
			case INDEX_CANT:
				i = STANDING_TRIES;
				break;
		}
	}
	rank_scan_standing_of(&reading->board, reading->season, &standing->key, at);
	return true;
}

/* Reads again whose key the index didn't have. False where all had theirs. Who has left the list keeps rank 0, and no key. */
static bool
reread_missing(const Reading *reading, RankView *rank)
{
	bool		missing = false;

	if (rank->has_own && rank->own.rank == 0)
	{
		missing = true;
		rank->has_own = standing_reread_key(reading, &rank->own.key);
	}
	for (int i = 0; i < rank->friends; i++)
	{
		if (rank->friend[i].rank > 0 || rank->friend[i].key.player_id == 0)
			continue;
		missing = true;
		if (!standing_reread_key(reading, &rank->friend[i].key))
			rank->friend[i].key.player_id = 0;
	}
	return missing;
}

void
standing_find_all(const Reading *reading, RankView *rank)
{
	for (int i = 0; i < STANDING_TRIES && rank_index_view(&reading->board, reading->season, rank); i++)
	{
		if (!reread_missing(reading, rank))
			return;
		standing_pause();
	}
	rank_scan_view(&reading->board, reading->season, rank);
}
