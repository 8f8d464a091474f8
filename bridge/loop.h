/*
 * loop.h - the types that the bridge's files share, and what each file offers
 *
 * One process, one thread (but for the log's writer, of which only log.c
 * knows), one libuv loop; nothing here needs a lock. Data flows one way:
 *
 *	database.c (LISTEN, read) -> boards.c (one frame a version) -> streams.c (send)
 *	listener.c (accept) -> http.c (read, answer) -> routes.c -> submit.c -> database.c
 *
 * Words: a Connection is a client's socket for as long as it lives; a Stream
 * is what it becomes with a subscription; a Link is one connection to the
 * database; a Submission is one increment on its way there and back.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_LOOP_H
#define BRIDGE_LOOP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>
#include <libwebsockets.h>
#include <uv.h>

#include "options.h"

#define BOARD_NAME_MAX 63
#define BOARDS_PER_STREAM 16
#define BODY_MAX (16 * 1024)
#define HEAD_MAX (16 * 1024)
#define LIBRARY_HEAD_ROOM (2 * HEAD_MAX)	/* more than the limit, so that 431 can be said */
#define REQUEST_ID_MAX 128
#define KEY_MAX 255
#define TOKEN_MAX (8 * 1024)

typedef struct Bridge Bridge;
typedef struct Connection Connection;
typedef struct Board Board;
typedef struct Stream Stream;
typedef struct Submission Submission;
typedef struct Link Link;
typedef struct Post Post;

struct Bridge
{
	uv_loop_t	loop;
	Options		options;
	struct lws_context *lws;
	struct lws_vhost *vhost;
	bool		draining;		/* set once by main.c: nothing new is begun */
	char		date[32];		/* for the Date header, made anew by main.c's tick */

	struct Listener *listener;
	struct Boards *boards;
	struct Streams *streams;
	struct Feed *feed;
	struct Submit *submit;
	struct Pages *pages;		/* NULL without --www */
};

/* ---- listener.c: sockets, and how long they may do nothing ---- */

/*
 * What a connection is doing. A phase with a time limit has a list in the
 * order of its expiry; connection_phase() is the only place that changes it.
 */
typedef enum Phase
{
	PHASE_IDLE,					/* between requests, or reading a head */
	PHASE_BODY,					/* reading a body */
	PHASE_OPEN,					/* no limit of ours: being answered, or a stream */
	PHASES
} Phase;

struct Connection
{
	Bridge	   *bridge;
	struct lws *wsi;			/* NULL before adoption and once it is closing */
	Stream	   *stream;			/* NULL before a subscription */
	Post	   *post;			/* a request with a body, until it is answered */
	Connection *previous;		/* in its phase's list */
	Connection *next;
	uint64_t	since;			/* ms of uv_now at which the phase began */
	uint64_t	received;		/* bytes that came before this request */
	struct AddressCount *address;
	struct in6_addr peer;		/* IPv4 as ::ffff:a.b.c.d */
	Phase		phase;
	bool		left_over;		/* this request's head came with an earlier one */
};

extern bool listener_start(Bridge *bridge);
extern void listener_stop(Bridge *bridge);	/* no new connections; the old ones stay */
extern void listener_free(Bridge *bridge);
extern void listener_tick(Bridge *bridge);	/* ends what has exceeded its phase's time */
extern int	listener_count(const Bridge *bridge);
extern void connection_phase(Connection *connection, Phase phase);
extern void connection_free(Connection *connection);

/* Ends a connection from outside its own callbacks. */
extern void connection_end(Connection *connection);

/* Keeps the socket a moment after the library has closed its side, so that an
 * answer isn't torn away from a client that is still sending. */
extern void connection_linger(Connection *connection);

/* Bytes of the request whose head has just been read (body included where it is here). */
extern uint64_t connection_received(Connection *connection);

/* Has the client sent what nobody reads, or ended its side? */
extern bool connection_spoken(const Connection *connection);

/* ---- boards.c: the documents in memory ---- */

/*
 * One version of a board, in the two forms in which it is sent. Each has
 * LWS_PRE bytes before it. A frame is never kept beyond the call that asked for
 * it: the library copies what the socket doesn't take, and who could not be
 * sent a version gets the newest later. So the board is its only owner and no
 * count is needed.
 */
typedef struct Frame
{
	unsigned char *message;		/* {"type":"leaderboard.update",...}, not terminated */
	size_t		message_length;
	unsigned char *event;		/* event:, data:, id: and the empty line */
	size_t		event_length;
	size_t		event_shared;	/* how much of it stands before the id: line */
	size_t		members;		/* offset in message of the document's first member */
	size_t		list;			/* offset after the bracket that opens the entries */
	size_t		entries;		/* how many there are */
	uint32_t   *starts;			/* offset of each entry; then of what follows the closing bracket */
} Frame;

typedef struct Subscriber
{
	struct lws *wsi;			/* both are here, so that the sending loop */
	Stream	   *stream;			/* walks one dense array */
	int64_t		sent;			/* the newest version it was given; <= board's */
} Subscriber;

struct Board
{
	Board	   *next;
	char		name[BOARD_NAME_MAX + 1];
	int			season;
	int64_t		version;		/* never falls, not even while the board is gone */
	Frame	   *frame;			/* NULL while the board is gone */
	Subscriber *subscribers;	/* owned by streams.c */
	uint32_t	subscriber_count;
	uint32_t	subscriber_room;
};

extern void boards_start(Bridge *bridge);
extern void boards_free(Bridge *bridge);
extern Board *boards_find(Bridge *bridge, const char *name);	/* NULL: unknown or gone */
extern bool boards_newer(Bridge *bridge, const char *name, int64_t version);
extern char *boards_known(Bridge *bridge);	/* {"global":17}, to be freed */

/* Takes in a row of scoreboard_documents; true where something is new. */
extern bool boards_apply(Bridge *bridge, const char *name, const char *season,
						 const char *version, const char *document);

/* The document with these entries only, into `out`, which has room for message_length. */
extern size_t frame_cut(const Frame *frame, size_t skip, size_t limit, char *out);

/* ---- streams.c: subscribers ---- */

extern void streams_start(Bridge *bridge);
extern void streams_stop(Bridge *bridge);
extern void streams_free(Bridge *bridge);
extern int	streams_count(const Bridge *bridge);
extern bool streams_add(Connection *connection, bool events, Board *const *boards, int count,
						const char *last_event_id);
extern void streams_remove(Connection *connection);
extern void streams_broadcast(Bridge *bridge, Board *board);
extern int	streams_writeable(Connection *connection);
extern int	streams_received(Connection *connection, const char *data, size_t length);
extern void streams_heard(Connection *connection);
extern void streams_sweep(Bridge *bridge);	/* drops those that take nothing */

/* Begins the end of at most `count` streams; how many are left. */
extern int	streams_drain(Bridge *bridge, int count);

/* ---- database.c: links to PostgreSQL, and the one that listens ---- */

/*
 * What the owner of a link is told. A link that went down, or could not be
 * made, comes up again by itself. answer() comes after ReadyForQuery, so the
 * end of the transaction is known; the result is freed by the link.
 */
typedef struct LinkEvents
{
	void		(*up) (Link *link);
	void		(*answer) (Link *link, const PGresult *result);
	void		(*down) (Link *link, bool was_up);	/* what was asked stays unanswered */
	void		(*notify) (Link *link, const PGnotify *notify);	/* may be NULL */
} LinkEvents;

extern Link *link_new(Bridge *bridge, const LinkEvents *events, void *owner);
extern void link_free(Link *link);
extern void *link_owner(const Link *link);
extern bool link_ask(Link *link, const char *sql, const char *parameter, int64_t timeout_ms);
extern void link_drop(Link *link, const char *reason);
extern void link_hold(Link *link, bool hold);	/* held: doesn't try to connect */

/* ---- feed.c: listens, and reads the documents ---- */

extern void feed_start(Bridge *bridge);
extern void feed_stop(Bridge *bridge);
extern bool feed_loaded(const Bridge *bridge);	/* the documents have been read once */
extern bool feed_live(const Bridge *bridge);	/* listening now */

/* ---- submit.c: increments ---- */

typedef struct Outcome
{
	int			status;			/* of HTTP */
	const char *body;			/* JSON; NULL where the database didn't answer */
	int			retry_after;	/* seconds, 0: none */
} Outcome;

extern void submit_start(Bridge *bridge);
extern void submit_stop(Bridge *bridge);
extern bool submit_live(const Bridge *bridge);
extern int	submit_pending(const Bridge *bridge);

/* NULL where it can't be taken now. Takes over `element` (malloc'd) in any case. */
extern Submission *submit_add(Bridge *bridge, Post *post, char *element, const char *id);
extern void submit_forget(Submission *submission);	/* its client is gone */

/* ---- http.c: requests and answers ---- */

typedef enum Method
{
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_OPTIONS,
	METHOD_OTHER
} Method;

typedef struct Request
{
	Method		method;
	char		path[256];
	char		id[REQUEST_ID_MAX + 1];
	char		key[KEY_MAX + 1];	/* Idempotency-Key, where the route has one */
	char		origin[256];	/* an allowed foreign origin, else empty */
	int64_t		length;			/* Content-Length, -1: none */
	bool		close;			/* the connection ends with this answer */
	uint64_t	began;			/* uv_hrtime */
} Request;

typedef enum ErrorCode
{
	ERROR_NONE,
	ERROR_INVALID_REQUEST,
	ERROR_UNAUTHORIZED,
	ERROR_ORIGIN_NOT_ALLOWED,
	ERROR_NOT_FOUND,
	ERROR_METHOD_NOT_ALLOWED,
	ERROR_REQUEST_TIMEOUT,
	ERROR_LENGTH_REQUIRED,
	ERROR_PAYLOAD_TOO_LARGE,
	ERROR_UNSUPPORTED_MEDIA_TYPE,
	ERROR_UPGRADE_REQUIRED,
	ERROR_HEADERS_TOO_LARGE,
	ERROR_INTERNAL,
	ERROR_UNAVAILABLE
} ErrorCode;

typedef struct Problem
{
	ErrorCode	code;			/* ERROR_NONE: none */
	const char *message;		/* a sentence for people */
	const char *headers;		/* lines that belong to it, or NULL */
	bool		close;			/* what follows on the connection can't be understood */
} Problem;

typedef struct Answer
{
	int			status;
	const char *type;			/* NULL: no body */
	const char *body;
	size_t		length;
	const char *headers;		/* lines of its own, each with its end, or NULL */
} Answer;

/* A request with a body; it lives until it is answered or its client is gone. */
struct Post
{
	Connection *connection;
	Request		request;
	Problem		problem;		/* told as soon as the body has been read */
	Submission *submission;		/* NULL before and after */
	char	   *token;
	size_t		got;
	bool		complete;
	char		body[];			/* request.length + 1 */
};

extern int	http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length);

/* Writes it whole; false where the connection is lost. */
extern bool http_answer(Connection *connection, Request *request, const Answer *answer);
extern bool http_stream_head(Connection *connection, Request *request, const Answer *answer);
extern bool http_problem(Connection *connection, Request *request, const Problem *problem);
extern void http_submitted(Post *post, const Outcome *outcome);
extern void http_body_late(Connection *connection);
extern void post_free(Post *post);

/* ---- request.c: what stands in a request's head ---- */

#define PARAMETERS_MAX 16

typedef struct Parameters
{
	int			count;
	struct
	{
		char		name[32];
		char		value[1100];
	}			item[PARAMETERS_MAX];
} Parameters;

extern void request_id(struct lws *wsi, Request *request);
extern void request_read(Connection *connection, Request *request, Problem *problem);
extern bool request_header(struct lws *wsi, enum lws_token_indexes token, char *value, int size);
extern int	request_custom(struct lws *wsi, const char *name, char *value, int size);
extern void request_key(struct lws *wsi, Request *request, Problem *problem);
extern char *request_token(struct lws *wsi, Problem *problem);
extern bool request_media_type(struct lws *wsi, Problem *problem);
extern bool request_parameters(struct lws *wsi, Parameters *parameters, Problem *problem);
extern const char *parameter(const Parameters *parameters, const char *name);
extern bool problem_set(Problem *problem, ErrorCode code, const char *message);	/* always false */
extern uint32_t random_number(void);
extern void random_id(char *text);	/* 32 hexadecimal digits and the end */

/* ---- body.c: the JSON of an increment ---- */

/* The element for scoreboard_submit, malloc'd; NULL with the problem set. */
extern char *body_element(Post *post, Problem *problem);
extern bool body_is_ping(const char *text, size_t length);

/* ---- routes.c and pages.c: what is answered to whom ---- */

/* Both answer at once, or leave connection->post to be completed. False: close. */
extern bool route_request(Connection *connection, Request *request);
extern bool route_body(Connection *connection);

/* Checks a request for another protocol: 0 let it through, -1 answered, close. */
extern int	route_upgrade(Connection *connection, const char *upgrade);
extern bool route_established(Connection *connection);
extern bool route_tag_matches(Connection *connection, const char *tag);

extern bool pages_start(Bridge *bridge);
extern void pages_free(Bridge *bridge);
extern bool pages_answer(Connection *connection, Request *request, bool *found);

#endif
