/*
 * hub.h - who subscribes to what, and the broadcast
 *
 * sse.c and ws.c own their streams; the hub owns the dense arrays
 * that a broadcast walks. A broadcast gives way: it goes in slices, one a turn
 * of the loop, and whoever has not been reached when the next version comes
 * gets only that one.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_HUB_H
#define BRIDGE_HUB_H

#include "boards.h"
#include "bridge.h"
#include "frame.h"
#include "metrics.h"

struct Identity;				/* credential.h */

typedef struct Stream Stream;
typedef struct Audience Audience;	/* of one board */

typedef enum SendResult
{
	SEND_DONE,
	SEND_REST,					/* taken, but the socket has a rest to send: stream_drained() comes later */
	SEND_LOST					/* the connection is gone or going */
} SendResult;

/* What the hub asks of a stream's socket; sse.c and ws.c have one each. Each may call stream_end(). */
typedef struct StreamKind
{
	StreamForm	form;
	SendResult	(*send) (Stream *stream, const Board *board);
	SendResult	(*say) (Stream *stream, const Frame *frame);	/* another message than a list */
	void		(*visit) (Stream *stream, bool ping);	/* the wheel: a comment or a ping now */
	void		(*close) (Stream *stream, int code, const char *reason);	/* code: of WebSocket, see SPEC 6 */
} StreamKind;

extern void hub_start(Bridge *bridge);
extern void hub_stop(Bridge *bridge);
extern void hub_free(Bridge *bridge);

/* ---- for boards.c ---- */

extern void hub_broadcast(Bridge *bridge, Board *board);	/* it has a newer frame */
extern void hub_end_streams(Board *board, const char *reason);	/* each comes again: 1001 */
extern uint32_t audience_count(const Audience *audience);	/* NULL is fine, here and below */
extern void audience_free(Audience *audience);

/* ---- for feed.c ---- */

/* Are the lists those of now? Told to every stream when it changes, and on connecting. */
extern void hub_live(Bridge *bridge, bool live);

/* ---- for sse.c and ws.c ---- */

/*
 * A stream of these boards, of a player (NULL: of anybody); nothing is sent before stream_begin().
 * last_event_id: what the client has already ("board:version,..."), NULL or empty: nothing. NULL: out of memory.
 */
extern Stream *stream_new(Bridge *bridge, const StreamKind *kind, void *owner, Board *const *boards, int count,
						  const struct Identity *identity, const char *last_event_id);
extern void stream_begin(Stream *stream);	/* sends the status and what the client doesn't have */
extern void stream_end(Stream *stream);		/* forgets it; the owner's last call */
extern void stream_close(Stream *stream, int code, const char *reason); /* ends its connection, and it with that; code: of WebSocket */
typedef enum SayResult
{
	SAID,
	SAY_LATER,					/* it hasn't taken yet what it was given before */
	SAY_LOST					/* the stream is gone by it */
} SayResult;
extern SayResult stream_say(Stream *stream, const Frame *frame);	/* to this one alone */
extern void *stream_owner(const Stream *stream);
extern void stream_drained(Stream *stream);	/* the rest is out: sends what has become new meanwhile */
extern void stream_heard(Stream *stream);	/* the client has said something */
extern bool stream_silent(const Stream *stream);	/* for longer than two pings */
/* The frame's event for this stream, whose id names the versions of all its boards; valid until the next call. */
extern const unsigned char *stream_event(const Stream *stream, const Board *board, size_t *length);

extern int	hub_streams(const Bridge *bridge);	/* how many there are */
extern void hub_tick(Bridge *bridge);	/* the wheel: pings, comments, slow ones; main.c's tick */
/* Begins the end (1001) of at most `count` streams; how many are left. */
extern int	hub_drain(Bridge *bridge, int count);

#endif
