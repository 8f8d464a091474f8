/*
 * frame.c - a published document in the two forms in which it is sent
 *
 *	message:	{"type":"leaderboard.update","board":"global",...,"entries":[...]}
 *	event:		event: leaderboard.update\n data: <message>\n | id: global:17\n \n
 *	                                                  event_shared ^
 *
 * Built once a version. The document's text is never rebuilt: a shorter list is
 * cut out of it at the offsets of its entries, which are looked for once.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define ENTRIES_MAX 1000

static const char message_head[] = "{\"type\":\"leaderboard.update\",";

void
frame_free(Frame *frame)
{
	if (frame == NULL)
		return;
	if (frame->message)
		free(frame->message - FRAME_ROOM);
	if (frame->event)
		free(frame->event - FRAME_ROOM);
	free(frame->starts);
	free(frame);
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
	unsigned char *block = malloc(FRAME_ROOM + length + 1);

	return block ? block + FRAME_ROOM : NULL;
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

/* A server's header of one text frame (RFC 6455, section 5.2) directly before the message. */
static void
put_wire(Frame *frame)
{
	size_t		length = frame->message_length;
	int			bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;

	frame->wire = frame->message - 2 - bytes;
	frame->wire_length = length + 2 + (size_t) bytes;
	frame->wire[0] = 0x81;
	frame->wire[1] = (unsigned char) (bytes == 0 ? length : bytes == 2 ? 126 : 127);
	for (int i = bytes; i > 0; i--, length >>= 8)
		frame->wire[1 + i] = (unsigned char) length;
}

/* Both forms of a message whose text stands in frame->message already. */
static bool
make_event(Frame *frame, const char *type, const char *name, int64_t version)
{
	frame->event = padded(frame->message_length + strlen(type) + BOARD_NAME_MAX + 80);
	if (frame->event == NULL)
		return false;
	frame->message[frame->message_length] = '\0';
	put_wire(frame);
	frame->event_shared = (size_t) sprintf((char *) frame->event, "event: %s\ndata: %s\n", type, frame->message);
	frame->event_length = frame->event_shared;
	if (name)
		frame->event_length += (size_t) sprintf((char *) frame->event + frame->event_shared, "id: %s:%" PRId64 "\n", name, version);
	frame->event[frame->event_length++] = '\n';
	return true;
}

Frame *
frame_of_document(const char *name, const char *document, int64_t version)
{
	size_t		length = strlen(document);
	int			entries = check_document(document, length);
	Frame	   *frame = entries < 0 ? NULL : calloc(1, sizeof(*frame));

	if (frame == NULL)
		return NULL;
	frame->members = sizeof(message_head) - 1;
	frame->message_length = frame->members + length - 1;
	frame->message = padded(frame->message_length);
	if (frame->message)
	{
		memcpy(frame->message, message_head, frame->members);
		memcpy(frame->message + frame->members, document + 1, length);
		/* Line ends stand between JSON's members only, and would end an event's data. */
		for (size_t i = 0; i < frame->message_length; i++)
			if (frame->message[i] == '\n' || frame->message[i] == '\r')
				frame->message[i] = ' ';
		if (make_event(frame, "leaderboard.update", name, version) && index_entries(frame, (size_t) entries))
			return frame;
	}
	frame_free(frame);
	return NULL;
}

Frame *
frame_of_message(const char *type, const char *text)
{
	Frame	   *frame = calloc(1, sizeof(*frame));

	if (frame == NULL)
		return NULL;
	frame->message_length = strlen(text);
	frame->message = padded(frame->message_length);
	if (frame->message)
	{
		memcpy(frame->message, text, frame->message_length);
		if (make_event(frame, type, NULL, 0))
			return frame;
	}
	frame_free(frame);
	return NULL;
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

bool
frame_is_utf8(const char *text, size_t length)
{
	json_t	   *json = json_stringn(text, length);

	json_decref(json);
	return json != NULL;
}
