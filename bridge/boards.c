/*
 * boards.c - the published documents, in the form in which they are sent
 *
 * For each board it keeps the newest document that the database has shown, as
 * a Frame: the WebSocket message and the server-sent event, built once a
 * version. A document is replaced by a greater version only, so within this
 * process a list never goes back, whatever connection a row was read on. A
 * board that is gone keeps its place and its version, so that the same holds
 * when it comes again.
 *
 *	message:	{"type":"leaderboard.update","board":"global",...,"entries":[...]}
 *	event:		event: leaderboard.update\n data: <message>\n | id: global:17\n \n
 *	                                                  event_shared ^
 *
 * The document's text is never rebuilt: a shorter list is cut out of it at the
 * offsets of its entries, which are looked for once.
 *
 * A document that isn't what we expect is logged and left out; the old one
 * stays.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "log.h"
#include "loop.h"

#define BUCKETS 256
#define ENTRIES_MAX 1000

static const char message_head[] = "{\"type\":\"leaderboard.update\",";
static const char event_head[] = "event: leaderboard.update\ndata: ";

typedef struct Boards
{
	Board	   *buckets[BUCKETS];
} Boards;

void
boards_start(Bridge *bridge)
{
	bridge->boards = calloc(1, sizeof(Boards));
	if (bridge->boards == NULL)
		abort();
}

static void
frame_free(Frame *frame)
{
	if (frame == NULL)
		return;
	if (frame->message)
		free(frame->message - LWS_PRE);
	if (frame->event)
		free(frame->event - LWS_PRE);
	free(frame->starts);
	free(frame);
}

void
boards_free(Bridge *bridge)
{
	Board	   *next;

	for (int i = 0; i < BUCKETS; i++)
		for (Board *board = bridge->boards->buckets[i]; board; board = next)
		{
			next = board->next;
			frame_free(board->frame);
			free(board->subscribers);
			free(board);
		}
	free(bridge->boards);
	bridge->boards = NULL;
}

static Board **
bucket(Bridge *bridge, const char *name)
{
	unsigned	hash = 5381;

	for (; *name; name++)
		hash = hash * 33 + (unsigned char) *name;
	return &bridge->boards->buckets[hash % BUCKETS];
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
boards_newer(Bridge *bridge, const char *name, int64_t version)
{
	Board	   *board = find_any(bridge, name);

	return board == NULL || board->frame == NULL || version > board->version;
}

char *
boards_known(Bridge *bridge)
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
				fprintf(out, "%s\"%s\":%" PRId64, comma, board->name, board->version);
				comma = ",";
			}
	fputc('}', out);
	fclose(out);
	return text;
}

/* ---- frames ---- */

/* The end of the JSON value at `at`; the text has been parsed before, so it is sound. */
static size_t
value_end(const unsigned char *text, size_t at, size_t length)
{
	int			depth = 0;
	bool		quoted = false;

	for (; at < length; at++)
	{
		unsigned char c = text[at];

		if (quoted)
		{
			if (c == '\\')
				at++;
			else if (c == '"')
				quoted = false;
		}
		else if (c == '"')
			quoted = true;
		else if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}' || c == ',') && depth == 0)
			return at;
		else if (c == ']' || c == '}')
			depth--;
	}
	return length;
}

static size_t
skip_space(const unsigned char *text, size_t at, size_t length)
{
	while (at < length && (text[at] == ' ' || text[at] == '\t'))
		at++;
	return at;
}

/* The offset after the bracket of the document's own "entries":[, or 0. */
static size_t
find_entries(const Frame *frame)
{
	const unsigned char *text = frame->message;
	size_t		length = frame->message_length;
	size_t		at = frame->members;

	while (at < length && text[at] != '}')
	{
		bool		found;

		at = skip_space(text, at, length);
		found = length - at > 9 && memcmp(text + at, "\"entries\"", 9) == 0;
		at += 1 + strcspn((const char *) text + at + 1, "\"") + 1;
		at = skip_space(text, at, length) + 1;
		at = skip_space(text, at, length);
		if (found)
			return at < length && text[at] == '[' ? at + 1 : 0;
		at = value_end(text, at, length);
		if (at < length && text[at] == ',')
			at++;
	}
	return 0;
}

/* Fills entries, list and starts: entry i is [starts[i], starts[i + 1] - 1), the comma left out. */
static bool
index_entries(Frame *frame, size_t entries)
{
	size_t		at = find_entries(frame);

	frame->starts = calloc(entries + 1, sizeof(uint32_t));
	if (at == 0 || frame->starts == NULL)
		return false;
	frame->entries = entries;
	frame->list = at;
	for (size_t i = 0; i < entries; i++)
	{
		frame->starts[i] = (uint32_t) at;
		at = value_end(frame->message, at, frame->message_length) + 1;
	}
	if (entries == 0)
		at = value_end(frame->message, at, frame->message_length) + 1;
	frame->starts[entries] = (uint32_t) at;
	return at <= frame->message_length && frame->message[at - 1] == ']';
}

static unsigned char *
padded(size_t length)
{
	unsigned char *block = malloc(LWS_PRE + length + 1);

	return block ? block + LWS_PRE : NULL;
}

/* Is this a document of ours? How many entries it has, or -1. */
static int
check_document(const char *document, size_t length)
{
	json_t	   *json = json_loadb(document, length, JSON_REJECT_DUPLICATES, NULL);
	json_t	   *list = json_object_get(json, "entries");
	size_t		entries = json_array_size(list);
	bool		fine = json_is_array(list) && entries <= ENTRIES_MAX && document[0] == '{' &&
		json_object_get(json, "type") == NULL;

	json_decref(json);
	return fine ? (int) entries : -1;
}

static Frame *
frame_new(const Board *board, const char *document, int64_t version)
{
	size_t		length = strlen(document);
	int			entries = check_document(document, length);
	Frame	   *frame = entries < 0 ? NULL : calloc(1, sizeof(*frame));

	if (frame == NULL)
		return NULL;
	frame->members = sizeof(message_head) - 1;
	frame->message_length = frame->members + length - 1;
	frame->message = padded(frame->message_length);
	frame->event = padded(sizeof(event_head) + frame->message_length + BOARD_NAME_MAX + 40);
	if (frame->message == NULL || frame->event == NULL)
	{
		frame_free(frame);
		return NULL;
	}
	memcpy(frame->message, message_head, frame->members);
	memcpy(frame->message + frame->members, document + 1, length);
	/* Line ends stand between JSON's members only, and would end an event's data. */
	for (size_t i = 0; i < frame->message_length; i++)
		if (frame->message[i] == '\n' || frame->message[i] == '\r')
			frame->message[i] = ' ';
	frame->event_shared = (size_t) sprintf((char *) frame->event, "%s%s\n", event_head, frame->message);
	frame->event_length = frame->event_shared +
		(size_t) sprintf((char *) frame->event + frame->event_shared, "id: %s:%" PRId64 "\n\n", board->name, version);
	if (!index_entries(frame, (size_t) entries))
	{
		frame_free(frame);
		return NULL;
	}
	return frame;
}

size_t
frame_cut(const Frame *frame, size_t skip, size_t limit, char *out)
{
	const char *message = (const char *) frame->message;
	size_t		first = skip < frame->entries ? skip : frame->entries;
	size_t		last = limit < frame->entries - first ? first + limit : frame->entries;
	size_t		head = frame->list - frame->members;
	size_t		tail = frame->starts[frame->entries] - 1;
	size_t		n = 0;

	out[n++] = '{';
	memcpy(out + n, message + frame->members, head);
	n += head;
	if (last > first)
	{
		size_t		length = frame->starts[last] - 1 - frame->starts[first];

		memcpy(out + n, message + frame->starts[first], length);
		n += length;
	}
	memcpy(out + n, message + tail, frame->message_length - tail);
	return n + frame->message_length - tail;
}

/* ---- rows ---- */

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
	log_info("board gone", LOG_TEXT("board", name));
	return true;
}

bool
boards_apply(Bridge *bridge, const char *name, const char *season, const char *version, const char *document)
{
	Board	   *board;
	Frame	   *frame;
	int64_t		number;

	if (document == NULL || version == NULL)
		return gone(bridge, name);
	board = make(bridge, name);
	number = strtoll(version, NULL, 10);
	/* A board that came back may still show the version it went with. */
	if (board == NULL || number < board->version || (number == board->version && board->frame))
		return false;
	frame = frame_new(board, document, number);
	if (frame == NULL)
	{
		log_error("document not understood", LOG_TEXT("board", name), LOG_NUMBER("version", number));
		return false;
	}
	frame_free(board->frame);
	board->frame = frame;
	board->version = number;
	board->season = season ? atoi(season) : 0;
	log_debug("published", LOG_TEXT("board", name), LOG_NUMBER("version", number),
			  LOG_NUMBER("subscribers", board->subscriber_count));
	streams_broadcast(bridge, board);
	return true;
}
