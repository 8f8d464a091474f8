/*
 * frame.h - a published document in the two forms in which it is sent
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_FRAME_H
#define BRIDGE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "bridge.h"

/* Room before each text for its WebSocket header, ours or libwebsockets'; ws.c checks that it suffices. */
#define FRAME_ROOM 32

typedef struct Frame
{
	unsigned char *message;		/* {"type":"leaderboard.update",...}, not terminated */
	size_t		message_length;
	unsigned char *wire;		/* the message behind its WebSocket header, ready to be sent */
	size_t		wire_length;
	unsigned char *event;		/* event:, data:, id: and the empty line */
	size_t		event_length;
	size_t		event_shared;	/* how much of it stands before the id: line */
	size_t		members;		/* offset in message of the document's first member */
	size_t		list;			/* offset after the bracket that opens the entries */
	size_t		entries;		/* how many there are */
	uint32_t   *starts;			/* offset of each entry; then of what follows the closing bracket */
} Frame;

/* NULL: not a document as the database publishes it, or out of memory. The name and the version are the event's id. */
extern Frame *frame_of_document(const char *name, const char *document, int64_t version);
extern Frame *frame_of_message(const char *type, const char *text);	/* JSON in one line; has no id and no entries */
extern void frame_free(Frame *frame);	/* NULL is fine */

extern bool frame_is_utf8(const char *text, size_t length);

/* The document with these entries only, into `out`, which has room for message_length; how long it is. */
extern size_t frame_cut(const Frame *frame, size_t skip, size_t limit, char *out);

#endif
