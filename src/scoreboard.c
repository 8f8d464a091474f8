/*
 * scoreboard.c - loading: settings, shared memory, workers
 *
 * Owns the settings and the secret that seeds the hashes of ids; everything
 * else belongs to the file that it is named after. Shared memory is laid out once, by the first process that
 * attaches, under AddinShmemInitLock.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/row_hints.h"
#include "base/season.h"
#include "base/config_cache.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/refusal_log.h"
#include "base/tables.h"
#include "publish/auditor.h"
#include "publish/chores_due.h"
#include "publish/launcher.h"
#include "publish/slots.h"
#include "rank/board.h"
#include "rank/commits.h"
#include "rank/index.h"
#include "trust/rate_limit.h"
#include "trust/receipt.h"
#include "write/event.h"
#include "write/replicated.h"

COMPAT_MODULE_MAGIC("scoreboard", SCOREBOARD_VERSION);

PG_FUNCTION_INFO_V1(scoreboard_library_version);

/* What a receipt must be signed for; set it where staging and production share a database name. */
char	   *scoreboard_audience = NULL;

/* Who may hand over verified claims in request.jwt.claims: PostgREST's authenticator, nobody by default. */
char	   *scoreboard_trusted_request_roles = NULL;
int			scoreboard_forwarded_hops = 1;

/* Lower them against cheating by scripts, raise them for games of many quick actions. */
int			scoreboard_rate_limit = 10;
int			scoreboard_burst_limit = 5;

/* Boards may have limits of their own beside these; this is for those that say nothing. */
int			scoreboard_board_rate_limit = 0;
int			scoreboard_board_burst_limit = 0;

/* Raise it where more players than fit are active within a minute (the server's log says so). */
int			scoreboard_rate_memory = 48 * 1024;

/* How far a service's clock may be off, and how long a receipt may travel. */
int			scoreboard_receipt_window = 120;

/* Raise it for more players than fit (the log says so); about 40 bytes a player and board. */
int			scoreboard_rank_memory = 64 * 1024;

/* Raise it for more than a quarter of a million players: what is not remembered is searched. */
int			scoreboard_lookup_memory = 8 * 1024;

/* How long an increment waits for its rank while the index is busy, before it answers null. */
int			scoreboard_rank_wait = 10;

/* Lower it to protect the server while ranks have to be counted by SQL. */
int			scoreboard_max_scans = 2;

/* How long moderation is patient with whoever acts for the player, before it ends that session. */
int			scoreboard_moderation_wait = 5 * 1000;

/* Set it to when the server has least to do, in the database's time zone: each board's log is read once. */
char	   *scoreboard_verify_at = NULL;

/*
 * How often players are looked at, over what time, how far they must be from what is normal (in robust standard deviations of
 * the logarithm), among how many, by how many events, and whether they are frozen for it. scoreboard.anomalies() reads them.
 */
int			scoreboard_anomaly_interval = 300;
static int	anomaly_window = 3600;
static double anomaly_threshold = 6;
static int	anomaly_players = 30;
static int	anomaly_events = 20;
static bool anomaly_freeze = false;

/* Raise it for verifiers that have more to look at; an increment waits that long. */
int			scoreboard_verifier_timeout = 200;

/* Raise it to look further back at who was refused what; each row is about 300 bytes. */
int			scoreboard_refusals_kept = 100000;

/* Turn it on for systems that have to hear of each action (README, "events"); an increment then writes a row more. */
bool		scoreboard_outbox = false;

/* Raise it for consumers that may be away for longer; a row of scoreboard.event is about 700 bytes with its indexes. */
int			scoreboard_event_retention = 7 * 24 * 60 * 60;

/* Turn it on where the server's log is collected: each refusal is one line of JSON. */
int			scoreboard_log_refusals = 0;

typedef struct ScoreboardShared
{
	uint64		hash_key[2];	/* set once before others see it */
} ScoreboardShared;

static ScoreboardShared *shared = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

uint64
scoreboard_hash_key(int which)
{
	return shared->hash_key[which];
}

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(ScoreboardShared)));
	RequestAddinShmemSpace(row_hints_shmem_size());
	RequestAddinShmemSpace(season_shmem_size());
	RequestAddinShmemSpace(rate_limit_shmem_size());
	RequestAddinShmemSpace(rank_board_shmem_size());
	RequestAddinShmemSpace(rank_commits_shmem_size());
	RequestAddinShmemSpace(slots_shmem_size());
	RequestAddinShmemSpace(refusal_log_shmem_size());
}

static void
attach_shmem(void)
{
	bool		found;

	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("scoreboard", sizeof(ScoreboardShared), &found);
	if (!found && !pg_strong_random(shared->hash_key, sizeof(shared->hash_key)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate the key of scoreboard's hashes")));
	row_hints_attach();
	season_attach();
	rate_limit_attach();
	rank_board_attach();
	rank_commits_attach();
	slots_attach();
	refusal_log_attach();
	LWLockRelease(AddinShmemInitLock);
}

/* Settings that size shared memory can only be set at server start. */
static void
define_memory_settings(void)
{
	DefineCustomIntVariable("scoreboard.rate_memory",
							"Shared memory for the players' rate windows.",
							"96 bytes for each player active within a minute; a full table refuses new players until others have been idle for a minute.",
							&scoreboard_rate_memory,
							48 * 1024, 256, INT_MAX / 2,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.rank_memory",
							"Shared memory for the rank trees.",
							"About 40 bytes for each player on each board; when it is full, ranks are counted by SQL.",
							&scoreboard_rank_memory,
							64 * 1024, 1024, INT_MAX / 2,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.lookup_memory",
							"Shared memory for where players and scores were found last.",
							"Saves searching indexes: 32 bytes for each player of one board are enough; 0 turns it off.",
							&scoreboard_lookup_memory,
							8 * 1024, 0, INT_MAX / 2,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
}

static void
define_rate_settings(void)
{
	DefineCustomIntVariable("scoreboard.rate_limit",
							"Attempts of a player within a minute, over all boards.",
							"0 turns the window off.",
							&scoreboard_rate_limit,
							10, 0, 1000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.burst_limit",
							"Attempts of a player within a second, over all boards.",
							"0 turns the window off.",
							&scoreboard_burst_limit,
							5, 0, 1000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.board_rate_limit",
							"Attempts of a player within a minute on each board whose rate_limit is null.",
							"0 turns the window off.",
							&scoreboard_board_rate_limit,
							0, 0, 1000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.board_burst_limit",
							"Attempts of a player within a second on each board whose burst_limit is null.",
							"0 turns the window off.",
							&scoreboard_board_burst_limit,
							0, 0, 1000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

static void
define_trust_settings(void)
{
	DefineCustomStringVariable("scoreboard.audience",
							   "What receipts must be signed for: 1 to 63 visible ASCII characters.",
							   "Empty: the name of the database. Set it with ALTER DATABASE.",
							   &scoreboard_audience,
							   "",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("scoreboard.trusted_request_roles",
							   "Session users whose request.jwt.claims and request.headers are believed, separated by commas.",
							   "For PostgREST's authenticator. Anybody who can run SQL under such a role can act as any player.",
							   &scoreboard_trusted_request_roles,
							   "",
							   PGC_SUSET, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.forwarded_hops",
							"How many proxies stand before a trusted layer and add to X-Forwarded-For.",
							"What the first of them added is stored as the client's address.",
							&scoreboard_forwarded_hops,
							1, 1, 100,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.receipt_window",
							"How far issued_at of a receipt may lie from the server's clock.",
							NULL,
							&scoreboard_receipt_window,
							120, 1, 24 * 60 * 60,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.verifier_timeout",
							"How long a verifier may take.",
							"Then its action is refused; in a batch none begins after that time.",
							&scoreboard_verifier_timeout,
							200, 1, 60 * 1000,
							PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

static void
define_rank_settings(void)
{
	DefineCustomIntVariable("scoreboard.rank_wait",
							"How long an increment waits for its rank, before it answers null.",
							NULL,
							&scoreboard_rank_wait,
							10, 0, 10 * 1000,
							PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.max_scans",
							"How many readers may count ranks by SQL at the same time.",
							"Only where the rank index can't answer; others get UNAVAILABLE.",
							&scoreboard_max_scans,
							2, 0, 1000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

static void
define_moderation_settings(void)
{
	DefineCustomIntVariable("scoreboard.moderation_wait",
							"How long moderation waits for a transaction that acts for the player.",
							"Then the sessions that hold the player up are ended, with a line in the log.",
							&scoreboard_moderation_wait,
							5 * 1000, 0, 60 * 60 * 1000,
							PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

static void
define_check_settings(void)
{
	DefineCustomStringVariable("scoreboard.verify_at",
							   "When scores, lists and ranks are held against the log of actions, every night.",
							   "A time of day in the database's time zone, such as 03:30, or off. What is found stands in scoreboard_stats().",
							   &scoreboard_verify_at,
							   "03:30",
							   PGC_SIGHUP, 0,
							   auditor_check_time, NULL, NULL);
}

static void
define_anomaly_settings(void)
{
	DefineCustomIntVariable("scoreboard.anomaly_interval",
							"How often players are looked for who are far from what is normal for their board.",
							"0 turns it off.",
							&scoreboard_anomaly_interval,
							300, 0, 24 * 60 * 60,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.anomaly_window",
							"How far back actions and refusals are looked at.",
							NULL,
							&anomaly_window,
							3600, 1, 30 * 24 * 60 * 60,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomRealVariable("scoreboard.anomaly_threshold",
							 "How far from the median a player is flagged, in robust standard deviations of the logarithm.",
							 NULL,
							 &anomaly_threshold,
							 6, 1, 1000,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.anomaly_players",
							"How many players a board must have in the window, before any of them is flagged.",
							NULL,
							&anomaly_players,
							30, 3, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.anomaly_events",
							"How many actions or refusals a player must have in the window, to be flagged for their number.",
							NULL,
							&anomaly_events,
							20, 1, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("scoreboard.anomaly_freeze",
							 "Freezes players who are newly flagged for an anomaly.",
							 NULL,
							 &anomaly_freeze,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

static void
define_retention_settings(void)
{
	DefineCustomBoolVariable("scoreboard.outbox",
							 "Whether events are recorded for consumers: actions, suspensions, ends of seasons, crossings in the top.",
							 NULL,
							 &scoreboard_outbox,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.event_retention",
							"How long scoreboard.event keeps events, whether consumers have acknowledged them or not.",
							NULL,
							&scoreboard_event_retention,
							7 * 24 * 60 * 60, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.refusals_kept",
							"How many refused requests scoreboard.refusal keeps.",
							NULL,
							&scoreboard_refusals_kept,
							100000, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("scoreboard.log_refusals",
							"How many refused requests a second have a line of JSON in the server's log.",
							"0 turns it off; a line says how many before it had none.",
							&scoreboard_log_refusals,
							0, 0, 100000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

/* CREATE EXTENSION ends up here where the library is not preloaded. */
static void
refuse_late_loading(void)
{
	const char *libraries = GetConfigOption("shared_preload_libraries", true, false);
	const char *file = GetConfigOption("config_file", true, false);
	bool		others = libraries && libraries[0] != '\0';

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("scoreboard must be loaded through shared_preload_libraries"),
			 errdetail("It keeps its rate windows and ranks in shared memory, which is laid out when the server starts."),
			 errhint("Put the line \"shared_preload_libraries = '%s%sscoreboard'\" into %s and restart the server.",
					 others ? libraries : "", others ? "," : "",
					 file ? file : "postgresql.conf")));
}

void		_PG_init(void);

void
_PG_init(void)
{
	/* pg_upgrade loads the library to look at it; nothing may run then. */
	if (IsBinaryUpgrade)
		return;
	if (!process_shared_preload_libraries_in_progress)
		refuse_late_loading();

	define_memory_settings();
	define_rate_settings();
	define_trust_settings();
	define_rank_settings();
	define_moderation_settings();
	define_check_settings();
	define_anomaly_settings();
	define_retention_settings();
	MarkGUCPrefixReserved("scoreboard");

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = attach_shmem;

	hidden_statement_init();
	config_cache_init();
	tables_init();
	player_lock_init();
	receipt_init();
	rank_index_init();
	replicated_init();
	chores_due_init();
	event_init();
	launcher_init();
}

Datum
scoreboard_library_version(PG_FUNCTION_ARGS)
{
	hide_statement();
	PG_RETURN_TEXT_P(cstring_to_text(SCOREBOARD_VERSION));
}
