/*
 * hub.h - the boards in memory, and who subscribes to what
 *
 * sse.c and ws.c own their streams; the hub owns boards and the dense arrays
 * that a broadcast walks. A broadcast gives way: it goes in slices, one a turn
 * of the loop, and whoever has not been reached when the next version comes
 * gets only that one.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_HUB_H
#define BRIDGE_HUB_H

#include "bridge.h"
#include "frame.h"
#include "metrics.h"

struct Identity;				/* credential.h */

typedef struct Board Board;
typedef struct Stream Stream;

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

/* ---- for feed.c ---- */

extern bool hub_newer(Bridge *bridge, const char *board, int64_t version);
extern bool hub_knows(Bridge *bridge, const char *board);
extern char *hub_stamps(Bridge *bridge);	/* {"global":"17.4711"}, to be freed */

/* A row of scoreboard_documents, as text; NULL: null. */
typedef struct DocumentRow
{
	const char *board;
	const char *season;
	const char *version;
	const char *document;
	const char *stamp;
	const char *top_size;
	const char *visibility;
	const char *permission;
} DocumentRow;

/* Takes in a row; true where its list is new. */
extern bool hub_apply(Bridge *bridge, const DocumentRow *row);
/* Are the lists those of now? Told to every stream when it changes, and on connecting. */
extern void hub_live(Bridge *bridge, bool live);

/* ---- for reads ---- */

extern Board *hub_board(Bridge *bridge, const char *name);	/* NULL: unknown or gone */
extern const Frame *board_frame(const Board *board);
extern const char *board_name(const Board *board);
extern int64_t board_version(const Board *board);
extern bool board_behind(const Board *board);	/* another worker has a newer list, so this one is shown to nobody */
extern int	board_season(const Board *board);
extern int	board_top_size(const Board *board);
extern bool board_public(const Board *board);	/* else the database says who may see it */

typedef enum Visibility
{
	VISIBLE_TO_ALL,
	VISIBLE_TO_PLAYERS,
	VISIBLE_BY_PERMISSION
} Visibility;
extern Visibility board_visibility(const Board *board);
extern const char *board_permission(const Board *board);	/* of VISIBLE_BY_PERMISSION; NULL: nobody has it */

/* ---- for metrics ---- */

extern void hub_each_board(Bridge *bridge, void (*visit) (void *data, const Board *board), void *data);	/* that are there */
extern const struct NewestBoard *board_newest(const Board *board);
/* A list newer than this version is to come: measures when. One such wait a board at a time. */
extern void board_await(Bridge *bridge, Board *board, int64_t version);
extern uint64_t board_awaited(const Board *board);	/* since when, by uv_hrtime; 0: no */

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
