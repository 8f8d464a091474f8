/*
 * base/config_cache.h - boards, action types, rules, keys and issuers as this backend knows them
 *
 * What a look-up returns is valid until the next config_begin_call(), so within
 * one API call. Look-ups may run SQL and raise (out of memory, cancel), never a refusal:
 * NULL means there is no such row.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_CONFIG_CACHE_H
#define SCOREBOARD_BASE_CONFIG_CACHE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "scoreboard.h"
#include "base/calendar.h"

typedef enum BoardOperator
{
	OPERATOR_SUM = 's',
	OPERATOR_BEST = 'b',
	OPERATOR_LATEST = 'l'
} BoardOperator;

typedef enum BoardTies
{
	TIES_FIRST,					/* who reached a score earlier ranks higher */
	TIES_SHARED,				/* 1 2 2 4 */
	TIES_SUBSCORE_HIGH,			/* the subscore, then the order of first appearance */
	TIES_SUBSCORE_LOW
} BoardTies;

typedef enum BoardVisibility
{
	VISIBLE_TO_ALL,
	VISIBLE_TO_PLAYERS,			/* with any good token */
	VISIBLE_BY_PERMISSION		/* with a token that has the board's */
} BoardVisibility;

typedef enum BoardKind
{
	BOARD_COUNTED = 'c',		/* actions count here, and it has ranks */
	BOARD_REMOTE = 'r',			/* its published list comes from another server */
	BOARD_MERGED = 'm'			/* its published list is that of others together */
} BoardKind;

/* Since when a list tells how many places its players have moved. */
typedef enum BoardMovement
{
	MOVEMENT_NONE,				/* it doesn't */
	MOVEMENT_DAY,
	MOVEMENT_SEASON
} BoardMovement;

/* A board that a template's actions count towards where the player has this value of the label. */
typedef struct LabelBoard
{
	char	   *label;
	char	   *value;
	int32		board_id;
	const struct Board *board;	/* config_label_board()'s; NULL before it was asked */
} LabelBoard;

typedef struct Board
{
	char		name[SCOREBOARD_NAME_MAX + 1];	/* hash key */
	int32		board_id;
	BoardKind	kind;
	bool		low_first;		/* the lowest score ranks first */
	BoardTies	ties;
	BoardOperator operator;
	int			top_size;
	int64		lowest_score;	/* corrections and penalties stop here */
	int			publish_interval_ms;
	BoardMovement movement;
	int			movement_entries;	/* of how many of the first it is known */
	BoardVisibility visibility;
	char	   *permission;		/* or NULL */
	CalendarPeriod period;
	int32		season_begun;	/* the last one recorded as begun; PG_INT32_MIN: none. base/season.h says which one runs */
	char	   *time_zone;
	int			rate_limit;		/* attempts of a player a minute; 0 = off, -1: scoreboard.board_rate_limit */
	int			burst_limit;	/* a second */
	int			further_count;	/* of the boards that its actions count towards too, near and far */
	List	   *further_ids;	/* in ascending order */
	const struct Board **further;	/* config_further()'s; NULL before it was asked */
	bool		is_label;		/* a label board: no action names it */
	int			label_count;	/* labels of which it has boards */
	char	  **labels;
	int			label_board_count;	/* of all of these labels */
	LabelBoard *label_boards;	/* by label and value */
} Board;

typedef enum ActionProof
{
	PROOF_SERVICE = 'v',
	PROOF_SESSION = 's',
	PROOF_GRANT = 'g',
	PROOF_TRUSTED = 't'
} ActionProof;

/* Which function looks at new actions of a type; by name, as a dump holds it. */
typedef struct Verifier
{
	char	   *function_schema;
	char	   *function_name;
	char	   *owner;
	double		fraction;		/* of the actions of players who are not flagged */
} Verifier;

/* An action type as it stands on one board: the type with the board's rule over it. */
typedef struct ActionRule
{
	int32		action_type_id;
	ActionProof proof;
	bool		enabled;
	bool		points_fixed;
	int64		points;			/* where fixed */
	int64		min_points;		/* where not: bounds of what a receipt may sign */
	int64		max_points;
	char	   *permission;		/* that the token must hold, or NULL */
	int64		receipt_max_age;	/* seconds; -1: scoreboard.receipt_window */
	int			rate_limit;		/* in place of the board's, apart from it; -1: none */
	int			burst_limit;
	int			hourly_quota;	/* of a player on the board; 0: none */
	int			daily_quota;
	const Verifier *verifier;	/* or NULL */
} ActionRule;

typedef struct SigningKey
{
	char		key_id[SCOREBOARD_NAME_MAX + 1];	/* hash key */
	int32		signing_key_id;
	char		secret[64 + 1]; /* these 64 characters are the HMAC key */
	TimestampTz valid_from;
	TimestampTz valid_until;	/* DT_NOEND where open */
	bool		revoked;
	List	   *board_ids;		/* of int; NIL = all */
	List	   *action_type_ids;	/* of int; NIL = all */
} SigningKey;

typedef struct IssuerKey
{
	char	   *kid;			/* or NULL */
	char	   *algorithm;		/* HS256, RS256, PS256, ES256: the only one it verifies */
	char	   *jwk;			/* JSON text, as jws_key_read() takes it */
	struct JwsKey *parsed;		/* token.c's, from its first use on; NULL before */
} IssuerKey;

typedef struct Issuer
{
	char	   *issuer;			/* the exact iss */
	char	   *user_id_prefix;
	char	   *user_claim;
	char	   *audience;		/* or NULL: tokens with aud are refused */
	char	   *audience_claim;
	int64		max_lifetime;	/* seconds */
	char	   *name_claim;		/* or NULL */
	char	   *avatar_claim;	/* or NULL */
	char	   *permissions_claim;	/* or NULL */
	char	   *algorithms;		/* those that it may use, with blanks between */
	int			label_count;
	struct LabelClaim *labels;	/* claims.h's: which claim gives which label */
	int			required_count;
	struct RequiredClaim *required; /* claims.h's: the values that claims must have */
	List	   *keys;			/* of IssuerKey * */
} Issuer;

/*
 * Starts an API call: takes in pending invalidations and drops what they made
 * stale. Everything that an earlier look-up returned is invalid afterwards.
 */
extern void config_begin_call(void);

/*
 * How old what the look-ups return may be: grows when config_begin_call() starts anew. Whoever keeps what was made from
 * the configuration (verified tokens, an increment that waits) notes it, and begins anew where it has moved.
 */
extern uint64 config_generation(void);

/* The setting's text; read here and by who reads boards by themselves. */
extern BoardTies config_ties(const char *ties);
/* What isn't known is shown to nobody: without a permission that is what VISIBLE_BY_PERMISSION means. */
extern BoardVisibility config_visibility(const char *visibility);
extern BoardMovement config_movement(const char *name);

/*
 * A column of a statement that reads boards as b. A function, so that scoreboard.score is locked only where a board has seasons: whoever has
 * that table for himself holds up no other board's reads and lists.
 */
#define CONFIG_SEASON_BEGUN "CASE b.period WHEN 'forever' THEN 1 ELSE scoreboard.season_begun(b.board_id) END::int"

extern const Board *config_board(const char *name);
extern const Board *config_board_by_id(int32 board_id);
/* The boards that its actions count towards too, by board_id; NULL where there are none. */
extern const Board *const *config_further(const Board *board, int *count);
/* Its board for players who have that value of a label; NULL where there is none. */
extern const Board *config_label_board(const Board *board, const char *label, const char *value);
extern const ActionRule *config_action_rule(const Board *board, const char *action_type);
/* The same where it costs no statement: NULL also for what hasn't been asked for yet. */
extern const Board *config_known_board(const char *name);
extern const ActionRule *config_known_rule(const Board *board, const char *action_type);

extern const SigningKey *config_signing_key(const char *key_id);
extern const Issuer *config_issuer(const char *issuer);

/* Once per process, from _PG_init: relcache callback. */
extern void config_cache_init(void);

#endif
