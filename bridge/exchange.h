/*
 * exchange.h - one request on its way to its answer
 *
 * Made when a head has been read, gone when the answer has been handed to the
 * client. A late answer (an increment, a read from the database) holds only
 * its Exchange: if the client leaves meanwhile, exchange->client becomes NULL
 * and the answer is dropped here. A client has one exchange at a time, so
 * pipelined requests are answered in order.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_EXCHANGE_H
#define BRIDGE_EXCHANGE_H

#include "client.h"
#include "h1.h"

#define BODY_MAX (16 * 1024)
#define REQUEST_ID_MAX 128
#define KEY_MAX 255
#define TOKEN_MAX (8 * 1024)

typedef enum Method
{
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_OPTIONS,
	METHOD_OTHER
} Method;

typedef enum ErrorCode
{
	ERROR_NONE,
	ERROR_INVALID_REQUEST,
	ERROR_UNAUTHORIZED,
	ERROR_ORIGIN_NOT_ALLOWED,
	ERROR_ACTION_NOT_ALLOWED,
	ERROR_NOT_FOUND,
	ERROR_METHOD_NOT_ALLOWED,
	ERROR_REQUEST_TIMEOUT,
	ERROR_LENGTH_REQUIRED,
	ERROR_PAYLOAD_TOO_LARGE,
	ERROR_UNSUPPORTED_MEDIA_TYPE,
	ERROR_UPGRADE_REQUIRED,
	ERROR_RATE_LIMITED,
	ERROR_HEADERS_TOO_LARGE,
	ERROR_VERSION_NOT_SUPPORTED,
	ERROR_INTERNAL,
	ERROR_UNAVAILABLE
} ErrorCode;

typedef struct Problem
{
	ErrorCode	code;			/* ERROR_NONE: none */
	const char *message;		/* a sentence for people */
	const char *headers;		/* lines that belong to it, each with its end, or NULL */
	bool		close;			/* what follows on the connection can't be understood */
} Problem;

typedef struct Answer
{
	int			status;
	const char *type;			/* NULL: no body */
	const char *body;
	size_t		length;
	const char *headers;		/* lines of its own, each with its end, or NULL */
	bool		endless;		/* the head of a stream: no length, stays open */
} Answer;

#define PARAMETERS_MAX 16
#define PATH_ITEMS_MAX 4		/* {...} in a route's pattern */

typedef struct Parameter
{
	const char *name;			/* decoded, without control characters, not empty */
	const char *value;
} Parameter;

typedef struct Exchange
{
	Bridge	   *bridge;
	Client	   *client;			/* NULL: gone */
	const struct Route *route;	/* NULL: none matched */
	const H1Head *head;			/* for the handler's first call only, and without a body; else NULL */
	struct in6_addr address;	/* whose request it is: the peer, or whom a trusted proxy names; ::, unknown */
	Method		method;
	int			minor;			/* of HTTP/1.x */
	char		id[REQUEST_ID_MAX + 1];
	char		key[KEY_MAX + 1];	/* Idempotency-Key, where the route has one */
	char		origin[256];	/* an allowed foreign origin, else empty */
	bool		origin_named;	/* the Origin is our own, or allowed by its name and not by * */
	char		path[256];		/* as it was sent, for the log; a longer one, or one with a token in it, is "/?" */
	bool		close;			/* the connection ends with this answer */
	uint64_t	began;			/* uv_hrtime: the head was read */
	uint64_t	ready;			/* its body too */
	char		trace_id[33];	/* of the caller's traceparent, empty: it had none */
	char		parent_id[17];	/* likewise: the caller's span */
	char	   *player;			/* whose request it is, once the database has said so; for the log */
	char	   *token;			/* the bearer token, its form unjudged; NULL: none */
	char	   *body;			/* terminated; NULL: none */
	size_t		body_length;
	char	   *query;			/* what parameters point into */
	char	   *segments;		/* what items point into */
	int			parameter_count;
	Parameter	parameters[PARAMETERS_MAX];
	const char *items[PATH_ITEMS_MAX];	/* what stood in the pattern's braces, decoded */
} Exchange;

extern void exchange_begin(Client *client);	/* makes exchange.c the client's reader; listener.c's last step */

extern const char *method_name(Method method);	/* not of METHOD_OTHER */
extern const char *exchange_parameter(const Exchange *exchange, const char *name);	/* NULL: not given */
/* If-None-Match: does it name this ETag (quotes included), or any? Only while there is a head. */
extern bool exchange_tag_matches(const Exchange *exchange, const char *tag);

/*
 * Each ends the exchange: nothing of it may be touched afterwards. Where the
 * client is gone they only free it.
 */
extern void exchange_answer(Exchange *exchange, const Answer *answer);
extern void exchange_problem(Exchange *exchange, const Problem *problem);

/*
 * The head of an endless answer, and the client with it: the exchange is gone,
 * the caller sets its own reader. NULL: the client is lost, or it was a HEAD.
 */
extern Client *exchange_open_stream(Exchange *exchange, const Answer *answer);

/* For a WebSocket: the exchange is gone and the client is the caller's, nothing was sent. */
extern Client *exchange_detach(Exchange *exchange);

extern bool problem_set(Problem *problem, ErrorCode code, const char *message);	/* always false */

extern int	exchange_count(void);	/* requests whose answer is awaited */

#endif
