/*
 * base/config_cache.c - boards, action types, rules, keys and issuers as this backend knows them
 *
 * Owns one memory context per backend with a hash table for each kind of row;
 * a row is loaded when it is first asked for, with a snapshot of its own, so
 * that it is as committed now at every isolation level. Row and statement
 * triggers on the tables (config_changed) send a relcache invalidation;
 * it moves the generation on, and the next API call starts with empty tables. What counts for others is the
 * generation at which the tables were empty: rows in them may be as old as that.
 * What does not exist is not remembered: a client that makes up names must not fill the memory.
 *
 * Takes no locks beyond those of its SELECTs.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/config_cache.h"
#include "base/plan.h"
#include "plain/claims.h"

PG_FUNCTION_INFO_V1(scoreboard_config_changed);

static const char *const config_tables[] = {
	"board", "label_board", "action_type", "action_rule", "signing_key", "jwt_issuer", "jwt_key", "verifier"
};

/* Those of the table by name */
typedef struct BoardById
{
	int32		board_id;		/* hash key */
	const Board *board;
} BoardById;

typedef struct RuleKey
{
	int32		board_id;
	char		action_type[SCOREBOARD_NAME_MAX + 1];
} RuleKey;

typedef struct RuleEntry
{
	RuleKey		key;
	ActionRule	rule;
} RuleEntry;


static MemoryContext cache_context = NULL;
static HTAB *boards = NULL;
static HTAB *boards_by_id = NULL;	/* of BoardById */
static HTAB *rules = NULL;
static HTAB *signing_keys = NULL;
static List *issuers = NIL;		/* of Issuer *: there are a handful */

static Oid	config_relids[lengthof(config_tables)];
static uint64 generation = 1;	/* grows with every change that this backend hears of */
static uint64 filled_from = 0;	/* the generation at which the tables were empty */

static SavedPlan board_plan = {
	.text = "SELECT name::text, board_id::int, score_order::text, ties::text, operator::text, top_size::int, lowest_score::bigint, publish_interval_ms::int,"
	" visibility::text, permission::text, time_zone::text,"
	" coalesce(rate_limit, -1)::int, coalesce(burst_limit, -1)::int,"
	" CASE WHEN counts_towards <> '{}' THEN ARRAY(SELECT f.board_id FROM scoreboard.further_boards(b.board_id) AS f ORDER BY 1)::int[] END,"
	" EXISTS (SELECT FROM scoreboard.label_board l WHERE l.board_id = b.board_id),"
	" ARRAY(SELECT unnest(ARRAY[l.label, l.value, l.board_id::text]) FROM scoreboard.label_board l WHERE l.template_id = b.board_id ORDER BY l.label, l.value)::text[],"
	" period::text, " CONFIG_SEASON_BEGUN ", CASE WHEN remote THEN 'r' WHEN merges <> '{}' THEN 'm' ELSE 'c' END, movement::text, movement_entries::int"
	" FROM scoreboard.board b WHERE name = $1 OR board_id = $2",
	.nargs = 2, .types = {TEXTOID, INT4OID}
};

static SavedPlan rule_plan = {
	.text = "SELECT t.action_type_id::int, t.proof::text, t.enabled AND coalesce(r.enabled, true),"
	" CASE WHEN r.min_points IS NULL THEN coalesce(r.points, t.points)::bigint END,"
	" coalesce(r.min_points, t.min_points, 0)::bigint, coalesce(r.max_points, t.max_points, 0)::bigint, t.permission::text,"
	" coalesce(floor(extract(epoch FROM t.receipt_max_age))::bigint, -1),"
	" coalesce(r.hourly_quota, t.hourly_quota, 0)::int, coalesce(r.daily_quota, t.daily_quota, 0)::int,"
	" coalesce(r.rate_limit, -1)::int, coalesce(r.burst_limit, -1)::int,"
	" v.function_schema::text, v.function_name::text, v.owner::text, v.fraction::float8"
	" FROM scoreboard.action_type t LEFT JOIN scoreboard.action_rule r ON r.action_type_id = t.action_type_id AND r.board_id = $2"
	" LEFT JOIN scoreboard.verifier v ON v.action_type_id = t.action_type_id"
	" WHERE t.name = $1",
	.nargs = 2, .types = {TEXTOID, INT4OID}
};

static SavedPlan signing_key_plan = {
	.text = "SELECT key_id::text, signing_key_id::int, secret::text, valid_from::timestamptz, coalesce(valid_until::timestamptz, 'infinity'),"
	" revoked_at IS NOT NULL, board_ids::int[], action_type_ids::int[]"
	" FROM scoreboard.signing_key WHERE key_id = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan issuer_plan = {
	.text = "SELECT issuer::text, user_id_prefix::text, user_claim::text, audience::text, greatest(floor(extract(epoch FROM max_lifetime)), 1)::bigint,"
	" name_claim::text, avatar_claim::text, permissions_claim::text, audience_claim::text, array_to_string(algorithms, ' '),"
	" array(SELECT unnest(ARRAY[key, value]) FROM jsonb_each_text(required_claims) WITH ORDINALITY AS c(key, value, n) ORDER BY n)::text[],"
	" array(SELECT unnest(ARRAY[key, value]) FROM jsonb_each_text(labels_claims))::text[]"
	" FROM scoreboard.jwt_issuer WHERE issuer = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan issuer_keys_plan = {
	.text = "SELECT kid::text, algorithm::text, jwk::text FROM scoreboard.jwt_key WHERE issuer = $1",
	.nargs = 1, .types = {TEXTOID}
};

/* Relcache callback: may run at any time, so it only counts. */
static void
config_invalidated(Datum arg, Oid relid)
{
	if (relid != InvalidOid)
	{
		bool		ours = false;

		for (int i = 0; i < lengthof(config_relids); i++)
			ours |= config_relids[i] == relid;
		if (!ours)
			return;
	}
	generation++;
}

void
config_cache_init(void)
{
	CacheRegisterRelcacheCallback(config_invalidated, (Datum) 0);
}

static HTAB *
make_table(const char *name, Size keysize, Size entrysize, int flags)
{
	HASHCTL		control = {.keysize = keysize, .entrysize = entrysize, .hcxt = cache_context};

	return hash_create(name, 32, &control, HASH_ELEM | HASH_CONTEXT | flags);
}

/* What the old primary recorded last came without invalidations: the seasons that it has begun. */
static void
notice_promotion(void)
{
	static bool was_standby = false;
	bool		is_standby = RecoveryInProgress();

	if (was_standby && !is_standby)
		generation++;
	was_standby = is_standby;
}

void
config_begin_call(void)
{
	Oid			schema;
	MemoryContext old = cache_context;

	AcceptInvalidationMessages();
	notice_promotion();
	if (filled_from == generation)
		return;

	/*
	 * Calls nest: a trigger on our tables may call us in the middle of an increment whose board and rule stand in the old
	 * tables. They go with the transaction.
	 */
	cache_context = NULL;
	if (old)
		MemoryContextSetParent(old, TopTransactionContext);
	cache_context = AllocSetContextCreate(CacheMemoryContext, "scoreboard configuration", ALLOCSET_DEFAULT_SIZES);
	boards = make_table("scoreboard boards", SCOREBOARD_NAME_MAX + 1, sizeof(Board), HASH_STRINGS);
	boards_by_id = make_table("scoreboard boards by id", sizeof(int32), sizeof(BoardById), HASH_BLOBS);
	rules = make_table("scoreboard rules", sizeof(RuleKey), sizeof(RuleEntry), HASH_BLOBS);
	signing_keys = make_table("scoreboard keys", SCOREBOARD_NAME_MAX + 1, sizeof(SigningKey), HASH_STRINGS);
	issuers = NIL;

	schema = get_namespace_oid("scoreboard", false);
	for (int i = 0; i < lengthof(config_relids); i++)
		config_relids[i] = get_relname_relid(config_tables[i], schema);
	filled_from = generation;
}

uint64
config_generation(void)
{
	return filled_from;
}

/*
 * Reads rows as committed now. If the configuration changed while we read, what we
 * read may be neither old nor new: read again. The next call begins with empty tables all the same.
 */
static void
load(SavedPlan *plan, Datum *values, const char *nulls)
{
	uint64		before;

	do
	{
		before = generation;
		plan_read(plan, values, nulls, 0);
		AcceptInvalidationMessages();
	} while (generation != before);
}

BoardMovement
config_movement(const char *name)
{
	if (strcmp(name, "day") == 0)
		return MOVEMENT_DAY;
	return strcmp(name, "season") == 0 ? MOVEMENT_SEASON : MOVEMENT_NONE;
}

BoardTies
config_ties(const char *ties)
{
	if (strcmp(ties, "shared") == 0)
		return TIES_SHARED;
	if (strcmp(ties, "subscore high") == 0)
		return TIES_SUBSCORE_HIGH;
	return strcmp(ties, "subscore low") == 0 ? TIES_SUBSCORE_LOW : TIES_FIRST;
}

BoardVisibility
config_visibility(const char *visibility)
{
	if (strcmp(visibility, "public") == 0)
		return VISIBLE_TO_ALL;
	return strcmp(visibility, "token") == 0 ? VISIBLE_TO_PLAYERS : VISIBLE_BY_PERMISSION;
}

/* An integer[] column as a list in the cache's context; NIL where it is null. */
static List *
int_list(HeapTuple row, TupleDesc desc, int column)
{
	List	   *list = NIL;
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);
	Datum	   *elements;
	int			count;
	MemoryContext before;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), INT4OID, sizeof(int32), true, TYPALIGN_INT, &elements, NULL, &count);
	before = MemoryContextSwitchTo(cache_context);
	for (int i = 0; i < count; i++)
		list = lappend_int(list, DatumGetInt32(elements[i]));
	MemoryContextSwitchTo(before);
	return list;
}

/* A text[] column in the cache's context; NULL where it is empty. */
static char **
kept_texts(HeapTuple row, TupleDesc desc, int column, int *count)
{
	Datum	   *elements;
	char	  **texts;

	deconstruct_array(DatumGetArrayTypeP(plan_datum(row, desc, column)), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, count);
	if (*count == 0)
		return NULL;
	texts = MemoryContextAlloc(cache_context, sizeof(char *) * *count);
	for (int i = 0; i < *count; i++)
		texts[i] = MemoryContextStrdup(cache_context, TextDatumGetCString(elements[i]));
	return texts;
}

/* Label, value and board_id in turn, in order. */
static void
load_labels(Board *board, HeapTuple row, TupleDesc desc, int column)
{
	int			count;
	char	  **texts = kept_texts(row, desc, column, &count);

	board->label_count = 0;
	board->label_board_count = count / 3;
	board->label_boards = NULL;
	board->labels = NULL;
	if (count == 0)
		return;
	board->label_boards = MemoryContextAllocZero(cache_context, board->label_board_count * sizeof(LabelBoard));
	board->labels = MemoryContextAllocZero(cache_context, board->label_board_count * sizeof(char *));
	for (int i = 0; i < board->label_board_count; i++)
	{
		LabelBoard *label_board = &board->label_boards[i];

		label_board->label = texts[3 * i];
		label_board->value = texts[3 * i + 1];
		label_board->board_id = atoi(texts[3 * i + 2]);
		if (board->label_count == 0 || strcmp(board->labels[board->label_count - 1], label_board->label) != 0)
			board->labels[board->label_count++] = label_board->label;
	}
}

static const Board *
load_board(const char *name, int32 board_id)
{
	Board	   *board = NULL;
	Datum		values[2] = {name ? CStringGetTextDatum(name) : (Datum) 0, Int32GetDatum(board_id)};
	int			pin;

	pin = plan_connect();
	load(&board_plan, values, name ? " n" : "n ");
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *found_name = plan_known_text(row, desc, 1);
		char	   *permission;

		board = hash_search(boards, found_name, HASH_ENTER, NULL);
		board->board_id = DatumGetInt32(plan_datum(row, desc, 2));
		board->low_first = plan_known_text(row, desc, 3)[0] == 'l';
		board->ties = config_ties(plan_known_text(row, desc, 4));
		board->operator = (BoardOperator) plan_known_text(row, desc, 5)[0];
		board->top_size = DatumGetInt32(plan_datum(row, desc, 6));
		board->lowest_score = DatumGetInt64(plan_datum(row, desc, 7));
		board->publish_interval_ms = DatumGetInt32(plan_datum(row, desc, 8));
		board->visibility = config_visibility(plan_known_text(row, desc, 9));
		permission = plan_text(row, desc, 10);
		board->permission = permission ? MemoryContextStrdup(cache_context, permission) : NULL;
		board->time_zone = MemoryContextStrdup(cache_context, plan_known_text(row, desc, 11));
		board->rate_limit = DatumGetInt32(plan_datum(row, desc, 12));
		board->burst_limit = DatumGetInt32(plan_datum(row, desc, 13));
		board->further_ids = int_list(row, desc, 14);
		board->further_count = list_length(board->further_ids);
		board->further = NULL;
		board->is_label = DatumGetBool(plan_datum(row, desc, 15));
		load_labels(board, row, desc, 16);
		board->period = (CalendarPeriod) plan_known_text(row, desc, 17)[0];
		board->season_begun = DatumGetInt32(plan_datum(row, desc, 18));
		board->kind = (BoardKind) plan_known_text(row, desc, 19)[0];
		board->movement = config_movement(plan_known_text(row, desc, 20));
		board->movement_entries = DatumGetInt32(plan_datum(row, desc, 21));
		((BoardById *) hash_search(boards_by_id, &board->board_id, HASH_ENTER, NULL))->board = board;
	}
	plan_finish(pin);
	return board;
}

const Board *
config_known_board(const char *name)
{
	/* The table would compare the first 63 bytes only. */
	return strlen(name) > SCOREBOARD_NAME_MAX ? NULL : hash_search(boards, name, HASH_FIND, NULL);
}

const Board *
config_board(const char *name)
{
	const Board *board = config_known_board(name);

	return board || strlen(name) > SCOREBOARD_NAME_MAX ? board : load_board(name, 0);
}

const Board *
config_board_by_id(int32 board_id)
{
	BoardById  *entry = hash_search(boards_by_id, &board_id, HASH_FIND, NULL);

	return entry ? entry->board : load_board(NULL, board_id);
}

/* One that was deleted meanwhile is left out: the generation has moved with it. */
const Board *const *
config_further(const Board *board, int *count)
{
	Board	   *kept = (Board *) board; /* an entry of ours */

	if (board->further_count > 0 && board->further == NULL)
	{
		const Board **further = MemoryContextAlloc(cache_context, board->further_count * sizeof(Board *));
		int			found = 0;

		for (int i = 0; i < board->further_count; i++)
		{
			further[found] = config_board_by_id(list_nth_int(board->further_ids, i));
			if (further[found] != NULL)
				found++;
		}
		kept->further_count = found;
		kept->further = further;
	}
	*count = board->further_count;
	return *count > 0 ? board->further : NULL;
}

static int
compare_label_boards(const void *a, const void *b)
{
	const LabelBoard *first = a;
	const LabelBoard *second = b;
	int			order = strcmp(first->label, second->label);

	return order != 0 ? order : strcmp(first->value, second->value);
}

const Board *
config_label_board(const Board *board, const char *label, const char *value)
{
	LabelBoard	wanted = {.label = (char *) label, .value = (char *) value};
	LabelBoard *found = bsearch(&wanted, board->label_boards, board->label_board_count, sizeof(LabelBoard), compare_label_boards);

	if (found && found->board == NULL)
		found->board = config_board_by_id(found->board_id);
	return found ? found->board : NULL;
}

static char *
kept_text(HeapTuple row, TupleDesc desc, int column)
{
	char	   *text = plan_text(row, desc, column);

	return text ? MemoryContextStrdup(cache_context, text) : NULL;
}

static ActionProof
proof_from_text(const char *proof)
{
	switch (proof[0])
	{
		case 't':
			return PROOF_TRUSTED;
		case 'g':
			return PROOF_GRANT;
		default:
			return strcmp(proof, "session") == 0 ? PROOF_SESSION : PROOF_SERVICE;
	}
}

static const Verifier *
read_verifier(HeapTuple row, TupleDesc desc, int column)
{
	char	   *schema = kept_text(row, desc, column);
	Verifier   *verifier;

	if (schema == NULL)
		return NULL;
	verifier = MemoryContextAllocZero(cache_context, sizeof(Verifier));
	verifier->function_schema = schema;
	verifier->function_name = kept_text(row, desc, column + 1);
	verifier->owner = kept_text(row, desc, column + 2);
	verifier->fraction = DatumGetFloat8(plan_datum(row, desc, column + 3));
	return verifier;
}

static void
fill_rule(ActionRule *rule, HeapTuple row, TupleDesc desc)
{
	char	   *permission = plan_text(row, desc, 7);
	bool		open;
	Datum		points = SPI_getbinval(row, desc, 4, &open);

	rule->action_type_id = DatumGetInt32(plan_datum(row, desc, 1));
	rule->proof = proof_from_text(plan_known_text(row, desc, 2));
	rule->enabled = DatumGetBool(plan_datum(row, desc, 3));
	rule->points_fixed = !open;
	rule->points = open ? 0 : DatumGetInt64(points);
	rule->min_points = DatumGetInt64(plan_datum(row, desc, 5));
	rule->max_points = DatumGetInt64(plan_datum(row, desc, 6));
	rule->receipt_max_age = DatumGetInt64(plan_datum(row, desc, 8));
	rule->hourly_quota = DatumGetInt32(plan_datum(row, desc, 9));
	rule->daily_quota = DatumGetInt32(plan_datum(row, desc, 10));
	rule->rate_limit = DatumGetInt32(plan_datum(row, desc, 11));
	rule->burst_limit = DatumGetInt32(plan_datum(row, desc, 12));
	rule->verifier = read_verifier(row, desc, 13);
	rule->permission = permission ? MemoryContextStrdup(cache_context, permission) : NULL;
}

static RuleKey
rule_key(const Board *board, const char *action_type)
{
	RuleKey		key;

	memset(&key, 0, sizeof(key));
	key.board_id = board->board_id;
	strlcpy(key.action_type, action_type, sizeof(key.action_type));
	return key;
}

const ActionRule *
config_known_rule(const Board *board, const char *action_type)
{
	RuleKey		key;
	RuleEntry  *entry;

	if (strlen(action_type) > SCOREBOARD_NAME_MAX)
		return NULL;
	key = rule_key(board, action_type);
	entry = hash_search(rules, &key, HASH_FIND, NULL);
	return entry ? &entry->rule : NULL;
}

static const ActionRule *
load_rule(const Board *board, const char *action_type)
{
	RuleEntry  *entry = NULL;
	Datum		values[2];
	int			pin;

	pin = plan_connect();
	values[0] = CStringGetTextDatum(action_type);
	values[1] = Int32GetDatum(board->board_id);
	load(&rule_plan, values, NULL);
	if (SPI_processed > 0)
	{
		ActionRule	rule;
		RuleKey		key = rule_key(board, action_type);

		fill_rule(&rule, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
		entry = hash_search(rules, &key, HASH_ENTER, NULL);
		entry->rule = rule;
	}
	plan_finish(pin);
	return entry ? &entry->rule : NULL;
}

const ActionRule *
config_action_rule(const Board *board, const char *action_type)
{
	const ActionRule *rule = config_known_rule(board, action_type);

	return rule || strlen(action_type) > SCOREBOARD_NAME_MAX ? rule : load_rule(board, action_type);
}

const SigningKey *
config_signing_key(const char *key_id)
{
	SigningKey *key;
	Datum		values[1];
	int			pin;

	if (strlen(key_id) > SCOREBOARD_NAME_MAX)
		return NULL;
	key = hash_search(signing_keys, key_id, HASH_FIND, NULL);
	if (key)
		return key;

	pin = plan_connect();
	values[0] = CStringGetTextDatum(key_id);
	load(&signing_key_plan, values, NULL);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		SigningKey	found = {0};

		strlcpy(found.key_id, plan_known_text(row, desc, 1), sizeof(found.key_id));
		found.signing_key_id = DatumGetInt32(plan_datum(row, desc, 2));
		strlcpy(found.secret, plan_known_text(row, desc, 3), sizeof(found.secret));
		found.valid_from = DatumGetTimestampTz(plan_datum(row, desc, 4));
		found.valid_until = DatumGetTimestampTz(plan_datum(row, desc, 5));
		found.revoked = DatumGetBool(plan_datum(row, desc, 6));
		found.board_ids = int_list(row, desc, 7);
		found.action_type_ids = int_list(row, desc, 8);
		key = hash_search(signing_keys, key_id, HASH_ENTER, NULL);
		*key = found;
	}
	plan_finish(pin);
	return key;
}

static List *
load_issuer_keys(Datum issuer)
{
	List	   *keys = NIL;

	load(&issuer_keys_plan, &issuer, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		IssuerKey  *key = MemoryContextAllocZero(cache_context, sizeof(IssuerKey));
		MemoryContext before;

		key->kid = kept_text(row, desc, 1);
		key->algorithm = kept_text(row, desc, 2);
		key->jwk = kept_text(row, desc, 3);
		before = MemoryContextSwitchTo(cache_context);
		keys = lappend(keys, key);
		MemoryContextSwitchTo(before);
	}
	return keys;
}

/* Names and values in turn. */
static void
load_required(Issuer *issuer, HeapTuple row, TupleDesc desc, int column)
{
	int			count;
	char	  **texts = kept_texts(row, desc, column, &count);

	issuer->required_count = count / 2;
	issuer->required = MemoryContextAllocZero(cache_context, sizeof(RequiredClaim) * Max(count / 2, 1));
	for (int i = 0; i < issuer->required_count; i++)
	{
		RequiredClaim *claim = &issuer->required[i];

		claim->name = texts[2 * i];
		claim->value = texts[2 * i + 1];
		claim->why = MemoryContextStrdup(cache_context, psprintf("the token's claim %s must be \"%s\"", claim->name, claim->value));
	}
}

/* Labels and claims in turn. */
static void
load_label_claims(Issuer *issuer, HeapTuple row, TupleDesc desc, int column)
{
	int			count;
	char	  **texts = kept_texts(row, desc, column, &count);

	issuer->label_count = Min(count / 2, CLAIMS_LABELS_MAX);
	issuer->labels = MemoryContextAllocZero(cache_context, sizeof(LabelClaim) * Max(issuer->label_count, 1));
	for (int i = 0; i < issuer->label_count; i++)
		issuer->labels[i] = (LabelClaim) {.label = texts[2 * i], .claim = texts[2 * i + 1]};
}

static Issuer *
load_issuer(const char *name)
{
	Issuer	   *issuer = NULL;
	Datum		values[1];
	int			pin;

	pin = plan_connect();
	values[0] = CStringGetTextDatum(name);
	load(&issuer_plan, values, NULL);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		issuer = MemoryContextAllocZero(cache_context, sizeof(Issuer));
		issuer->issuer = kept_text(row, desc, 1);
		issuer->user_id_prefix = kept_text(row, desc, 2);
		issuer->user_claim = kept_text(row, desc, 3);
		issuer->audience = kept_text(row, desc, 4);
		issuer->max_lifetime = DatumGetInt64(plan_datum(row, desc, 5));
		issuer->name_claim = kept_text(row, desc, 6);
		issuer->avatar_claim = kept_text(row, desc, 7);
		issuer->permissions_claim = kept_text(row, desc, 8);
		issuer->audience_claim = kept_text(row, desc, 9);
		issuer->algorithms = kept_text(row, desc, 10);
		load_required(issuer, row, desc, 11);
		load_label_claims(issuer, row, desc, 12);
		issuer->keys = load_issuer_keys(values[0]);
	}
	plan_finish(pin);
	return issuer;
}

const Issuer *
config_issuer(const char *name)
{
	ListCell   *cell;
	Issuer	   *issuer;

	foreach(cell, issuers)
	{
		issuer = lfirst(cell);
		if (strcmp(issuer->issuer, name) == 0)
			return issuer;
	}
	issuer = load_issuer(name);
	if (issuer)
	{
		MemoryContext before = MemoryContextSwitchTo(cache_context);

		issuers = lappend(issuers, issuer);
		MemoryContextSwitchTo(before);
	}
	return issuer;
}

/* Trigger on the configuration's tables: everybody's cache of them ends with this commit. */
Datum
scoreboard_config_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("scoreboard_config_changed() must be called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
