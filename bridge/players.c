/*
 * players.c - whose streams they are: at most so many each, ended with their tokens
 *
 * A Player is here as long as it has a stream; its memberships stand in the
 * order in which they came, the oldest first. All memberships are one list too,
 * which the tick walks for those whose token has expired.
 *
 * How many streams a player has in all workers a table in shared memory tells
 * (tally.c), where a newer stream marks the one that it replaces; so the tick
 * also looks for marks that another worker has set.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "players.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "log.h"
#include "random.h"
#include "text_hash.h"

#define BUCKETS 4096
#define CLOSE_EXPIRED 4001
#define CLOSE_REPLACED 4002

typedef struct Player
{
	struct Player *next;		/* in its bucket */
	Membership *oldest;
	char		user_id[];
} Player;

typedef struct Players
{
	Player	   *buckets[BUCKETS];
	Membership *all;
	Tally	   *tally;			/* over all workers */
} Players;

static Player **
find(const Bridge *bridge, const char *user_id)
{
	Player	  **place = &bridge->players->buckets[text_hash(user_id) % BUCKETS];

	while (*place && strcmp((*place)->user_id, user_id) != 0)
		place = &(*place)->next;
	return place;
}

static Player *
make(const Bridge *bridge, const char *user_id)
{
	Player	  **place = find(bridge, user_id);

	if (*place == NULL && (*place = calloc(1, sizeof(Player) + strlen(user_id) + 1)) != NULL)
		strcpy((*place)->user_id, user_id);
	return *place;
}

static void
forget(const Bridge *bridge, Player *player)
{
	Player	  **place = find(bridge, player->user_id);

	*place = player->next;
	free(player);
}

static void
link_membership(Players *players, Membership *membership)
{
	Membership **end = &membership->player->oldest;

	while (*end)
		end = &(*end)->newer;
	*end = membership;
	membership->next = players->all;
	if (players->all)
		players->all->previous = membership;
	players->all = membership;
}

/* The name may have a thousand bytes; no two have the same of this. */
static TallyKey
key_of(const char *user_id)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	TallyKey	key;

	if (EVP_Digest(user_id, strlen(user_id), digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	memcpy(&key, digest, sizeof(key));
	return key;
}

/* Never the newest, and so the player stays. */
static void
close_replaced(Membership *oldest)
{
	for (Membership *membership = oldest, *newer; membership; membership = newer)
	{
		newer = membership->newer;
		if (membership->entry->replaced)
			stream_close(membership->stream, CLOSE_REPLACED, "replaced by a newer stream");
	}
}

Membership *
players_join(Bridge *bridge, const Identity *identity, Stream *stream, Board *const *boards, int count)
{
	TallyKey	key = key_of(identity->user_id);
	Membership *membership = calloc(1, sizeof(*membership) + (size_t) count * sizeof(OwnRank));
	Player	   *player = membership ? make(bridge, identity->user_id) : NULL;

	if (player)
		membership->entry = tally_join(bridge->players->tally, bridge->worker, &key, bridge->options.max_streams_per_player);
	if (player == NULL || membership->entry == NULL)
	{
		if (player && player->oldest == NULL)
			forget(bridge, player);
		free(membership);
		return NULL;
	}
	membership->bridge = bridge;
	membership->player = player;
	membership->stream = stream;
	membership->expires_at = identity->expires_at;
	if (strlen(identity->pass) <= PASS_MAX)
		strcpy(membership->pass, identity->pass);
	membership->count = count;
	for (int i = 0; i < count; i++)
		membership->ranks[i] = (OwnRank) {.board = boards[i], .asked = -1};
	link_membership(bridge->players, membership);
	close_replaced(player->oldest);
	return membership;
}

void
players_leave(Membership *membership)
{
	Players    *players = membership->bridge->players;
	Player	   *player = membership->player;
	Membership **place = &player->oldest;

	while (*place != membership)
		place = &(*place)->newer;
	*place = membership->newer;
	if (membership->previous)
		membership->previous->next = membership->next;
	else
		players->all = membership->next;
	if (membership->next)
		membership->next->previous = membership->previous;
	tally_leave(players->tally, membership->bridge->worker, membership->entry);
	if (player->oldest == NULL)
		forget(membership->bridge, player);
	free(membership);
}

Membership *
players_all(const Bridge *bridge)
{
	return bridge->players->all;
}

Membership *
players_of(const Bridge *bridge, const char *user_id)
{
	const Player *player = *find(bridge, user_id);

	return player ? player->oldest : NULL;
}

const char *
membership_user_id(const Membership *membership)
{
	return membership->player->user_id;
}

void
players_tick(Bridge *bridge)
{
	int64_t		now = (int64_t) time(NULL);
	Membership *next;

	/* A close ends its own stream only. */
	for (Membership *membership = bridge->players->all; membership; membership = next)
	{
		next = membership->next;
		if (membership->entry->replaced)
			stream_close(membership->stream, CLOSE_REPLACED, "replaced by a newer stream");
		else if (membership->expires_at <= now)
			stream_close(membership->stream, CLOSE_EXPIRED, "the token has expired");
	}
}

void
players_start(Bridge *bridge)
{
	bridge->players = calloc(1, sizeof(Players));
	if (bridge->players == NULL)
		abort();
	bridge->players->tally = tally_new((int) bridge->options.workers, (size_t) bridge->options.max_connections, random_seed());
}

void
players_forget(Bridge *bridge, int worker)
{
	tally_forget(bridge->players->tally, worker);
}

void
players_free(Bridge *bridge)
{
	tally_free(bridge->players->tally);
	free(bridge->players);
	bridge->players = NULL;
}
