/*
 * boards.c - the boards in memory
 *
 * For each board it keeps the newest document that the database has shown. A
 * document is replaced by a greater version only, so within this process a list
 * never goes back, whatever connection a row was read on. A board that is gone
 * keeps its place and its version, so that the same holds when it comes again.
 * Nor does it over all workers (newest.c): while another has a newer one, ours is given to nobody.
 *
 * What is new goes to the hub, which knows who subscribes.
 *
 * Invariant: Board.version never falls.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "boards.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub.h"
#include "log.h"
#include "metrics.h"
#include "newest.h"
#include "text_hash.h"

#define BUCKETS 256
#define STAMP_MAX 48

struct Board
{
	Board	   *next;			/* in its bucket */
	char		name[BOARD_NAME_MAX + 1];
	int			season;
	int64_t		season_began;	/* the version with which we saw it begin; 0: we didn't */
	Frame	   *season_end;		/* what subscribers are told then; NULL: nothing */
	int64_t		version;		/* never falls, not even while the board is gone */
	Frame	   *frame;			/* NULL while the board is gone */
	char		stamp[STAMP_MAX + 1];	/* of what we have; the database made it */
	int			top_size;
	Visibility	visibility;
	char	   *permission;		/* that visibility may demand */
	NewestBoard *newest;		/* NULL: of the status */
	Audience   *audience;		/* NULL: nobody has ever subscribed */
	int64_t		awaited_after;	/* see board_await() */
	uint64_t	awaited_since;	/* 0: none is awaited */
};

typedef struct Boards
{
	Board	   *buckets[BUCKETS];
} Boards;

/* ---- by name ---- */

static Board **
bucket(Bridge *bridge, const char *name)
{
	return &bridge->boards->buckets[text_hash(name) % BUCKETS];
}

static Board *
find_any(Bridge *bridge, const char *name)
{
	Board	   *board = *bucket(bridge, name);

	while (board && strcmp(board->name, name) != 0)
		board = board->next;
	return board;
}

Board *
boards_find(Bridge *bridge, const char *name)
{
	Board	   *board = find_any(bridge, name);

	return board && board->frame ? board : NULL;
}

bool
boards_know(Bridge *bridge, const char *name)
{
	return boards_find(bridge, name) != NULL;
}

bool
boards_newer(Bridge *bridge, const char *name, int64_t version)
{
	Board	   *board = find_any(bridge, name);

	return board == NULL || board->frame == NULL || version > board->version;
}

char *
boards_stamps(Bridge *bridge)
{
	char	   *text = NULL;
	size_t		size = 0;
	FILE	   *out = open_memstream(&text, &size);
	const char *comma = "";

	if (out == NULL)
		return NULL;
	fputc('{', out);
	for (int i = 0; i < BUCKETS; i++)
		for (Board *board = bridge->boards->buckets[i]; board; board = board->next)
			if (board->frame)
			{
				fprintf(out, "%s\"%s\":\"%s\"", comma, board->name, board->stamp);
				comma = ",";
			}
	fputc('}', out);
	fclose(out);
	return text;
}

const Frame *
board_frame(const Board *board)
{
	return board->frame;
}

const char *
board_name(const Board *board)
{
	return board->name;
}

int64_t
board_version(const Board *board)
{
	return board->version;
}

int
board_season(const Board *board)
{
	return board->season;
}

int
board_top_size(const Board *board)
{
	return board->top_size;
}

bool
board_public(const Board *board)
{
	return board->visibility == VISIBLE_TO_ALL;
}

Visibility
board_visibility(const Board *board)
{
	return board->visibility;
}

const char *
board_permission(const Board *board)
{
	return board->permission;
}

void
boards_each(Bridge *bridge, void (*visit) (void *data, const Board *board), void *data)
{
	for (int i = 0; i < BUCKETS; i++)
		for (const Board *board = bridge->boards->buckets[i]; board; board = board->next)
			if (board->frame)
				visit(data, board);
}

NewestBoard *
board_newest(const Board *board)
{
	return board->newest;
}

bool
board_behind(const Board *board)
{
	return board->newest && newest_version(board->newest) > board->version;
}

void
board_await(Bridge *bridge, Board *board, int64_t version)
{
	if (board->version > version)
		histogram_add(&bridge->metrics->commit_to_frame, 0);	/* the list came before the answer */
	else
	{
		board->awaited_after = version;
		board->awaited_since = uv_hrtime();
	}
}

uint64_t
board_awaited(const Board *board)
{
	return board->awaited_since;
}

/* ---- for the hub ---- */

const Frame *
board_season_end(const Board *board)
{
	return board->season_end;
}

int64_t
board_season_began(const Board *board)
{
	return board->season_began;
}

Audience *
board_audience(const Board *board)
{
	return board->audience;
}

void
board_set_audience(Board *board, Audience *audience)
{
	board->audience = audience;
}

Board *
board_new_nameless(void)
{
	return calloc(1, sizeof(Board));
}

void
board_show(Board *board, Frame *frame, int64_t version)
{
	frame_free(board->frame);
	board->frame = frame;
	board->version = version;
}

void
board_free(Board *board)
{
	frame_free(board->frame);
	frame_free(board->season_end);
	free(board->permission);
	audience_free(board->audience);
	free(board);
}

/* ---- what feed.c brings ---- */

static bool
valid_name(const char *name)
{
	size_t		length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

	return length >= 1 && length <= BOARD_NAME_MAX && name[length] == '\0';
}

static Board *
make(Bridge *bridge, const char *name)
{
	Board	   *board = find_any(bridge, name);

	if (board == NULL && valid_name(name) && (board = calloc(1, sizeof(*board))) != NULL)
	{
		Board	  **place = bucket(bridge, name);

		strcpy(board->name, name);
		board->newest = newest_board(bridge, name);
		board->next = *place;
		*place = board;
	}
	return board;
}

static bool
gone(Bridge *bridge, const char *name)
{
	Board	   *board = boards_find(bridge, name);

	if (board == NULL)
		return false;
	frame_free(board->frame);
	board->frame = NULL;
	board->awaited_since = 0;
	log_info("board gone", LOG_TEXT("board", name));
	return true;
}

/* What isn't known is shown to nobody. */
static Visibility
visibility_of(const DocumentRow *row)
{
	if (row->visibility && strcmp(row->visibility, "public") == 0)
		return VISIBLE_TO_ALL;
	return row->visibility && strcmp(row->visibility, "token") == 0 ? VISIBLE_TO_PLAYERS : VISIBLE_BY_PERMISSION;
}

/* What an administrator has set, of this version or a newer one. */
static void
take_settings(Board *board, const DocumentRow *row)
{
	Visibility	visibility = visibility_of(row);
	const char *permission = row->permission ? row->permission : "";
	bool		changed = visibility != board->visibility || strcmp(permission, board->permission ? board->permission : "") != 0;

	snprintf(board->stamp, sizeof(board->stamp), "%s", row->stamp ? row->stamp : "");
	board->top_size = row->top_size ? atoi(row->top_size) : 0;
	board->visibility = visibility;
	free(board->permission);
	board->permission = row->permission ? strdup(row->permission) : NULL;
	if (changed && visibility != VISIBLE_TO_ALL)
		hub_end_streams(board, "who may see the board has changed");
}

/* The list is the first of another season: whoever has had one of the last season is told before it gets this one. */
static void
end_season(Board *board, int next, int64_t version)
{
	char		text[192 + BOARD_NAME_MAX];
	Frame	   *frame;

	if (board->frame == NULL || next <= board->season)
		return;
	snprintf(text, sizeof(text), "{\"type\":\"season.end\",\"board\":\"%s\",\"season\":%d,\"nextSeason\":%d,\"version\":%" PRId64 "}",
			 board->name, board->season, next, version);
	frame = frame_of_message("season.end", text);
	if (frame == NULL)
		return;
	frame_free(board->season_end);
	board->season_end = frame;
	board->season_began = version;
	log_info("season ended", LOG_TEXT("board", board->name), LOG_NUMBER("season", board->season), LOG_NUMBER("next_season", next));
}

static void
count_publication(Bridge *bridge, Board *board, int64_t version, const char *document)
{
	newest_raise(board->newest, version);
	if (board->frame)
		metrics_published(bridge, document);
	if (board->awaited_since == 0 || version <= board->awaited_after)
		return;
	histogram_add(&bridge->metrics->commit_to_frame, (uv_hrtime() - board->awaited_since) / 1000);
	board->awaited_since = 0;
}

bool
boards_apply(Bridge *bridge, const DocumentRow *row)
{
	Board	   *board;
	Frame	   *frame;
	int64_t		number;
	int			season = row->season ? atoi(row->season) : 0;

	if (row->document == NULL || row->version == NULL)
		return gone(bridge, row->board);
	board = make(bridge, row->board);
	number = strtoll(row->version, NULL, 10);
	if (board == NULL || number < board->version)
		return false;
	take_settings(board, row);
	/* A board that came back may still show the version it went with. */
	if (number == board->version && board->frame)
		return false;
	frame = frame_of_document(board->name, row->document, number);
	if (frame == NULL)
	{
		log_error("document not understood", LOG_TEXT("board", board->name), LOG_NUMBER("version", number),
				  LOG_TEXT("advice", "clients keep the last list; somebody wrote to scoreboard.top, or the extension is newer than this bridge"));
		return false;
	}
	count_publication(bridge, board, number, row->document);
	end_season(board, season, number);
	board_show(board, frame, number);
	board->season = season;
	log_debug("published", LOG_TEXT("board", board->name), LOG_NUMBER("version", number),
			  LOG_NUMBER("subscribers", audience_count(board->audience)));
	hub_broadcast(bridge, board);
	return true;
}

/* ---- coming and going ---- */

void
boards_start(Bridge *bridge)
{
	bridge->boards = calloc(1, sizeof(*bridge->boards));
	if (bridge->boards == NULL)
		abort();
}

void
boards_free(Bridge *bridge)
{
	Board	   *next;

	for (int i = 0; i < BUCKETS; i++)
		for (Board *board = bridge->boards->buckets[i]; board; board = next)
		{
			next = board->next;
			board_free(board);
		}
	free(bridge->boards);
	bridge->boards = NULL;
}
