/*
 * base/refusal_log.c - refusals outlive the transaction that they rolled back
 *
 * A refused increment writes nothing and its transaction rolls back, yet an
 * administrator wants to see who was refused what. So refusals go through a ring in
 * shared memory to the publisher, which stores them. Secrets (token, receipt) never enter it.
 *
 * The ring is bounded. Where refusals come faster than they are stored, the oldest give way: the server counts them, and
 * so does the database's next note (dropped), so that the stored rows tell where something is missing. What the rate windows don't
 * hold back can be sent at any rate; the same again, from the same, is one note with a count as long as it isn't being stored
 * (repeats), so that nobody can drive everybody else's refusals out by it.
 *
 * The publisher copies its notes, stores and commits, and only then frees their places; what was overwritten meanwhile had
 * been counted as dropped and is taken off again.
 *
 * Who was forgotten can still hold a token, and be refused for whatever comes before its tombstone is looked at: that is stored without
 * a name, as what the tombstone itself refuses is.
 *
 * Locks: the ring's LWLock, nothing below it, held for a copy of one entry and a look for the next, or by the publisher for a copy of all.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/refusal_count.h"
#include "base/refusal_line.h"
#include "base/refusal_log.h"
#include "plain/receipt_form.h"
#include "publish/publisher.h"
#include "trust/tombstone.h"

PG_FUNCTION_INFO_V1(scoreboard_forget_refusals);

#define RING_SIZE 1024

typedef struct RingNote
{
	Oid			database;		/* InvalidOid: empty */
	bool		copied;			/* the publisher is storing it: takes no more repeats */
	uint64		number;			/* which one it is since the server started */
	RefusalNote note;
} RingNote;

typedef struct RefusalRing
{
	LWLock		lock;			/* guards all below */
	uint64		written;		/* the next one goes to written % RING_SIZE */
	uint64		lost;
	int64		line_second;	/* since 1970, of the last line of the log */
	int			lines;			/* in that second */
	int64		unsaid;			/* refusals without a line since the last one with one */
	uint64		latest[RING_SIZE];	/* by hash_alike(): the number + 1 of such a note, if it still stands there */
	RingNote	notes[RING_SIZE];
} RefusalRing;

static RefusalRing *ring = NULL;

/* The publisher: what stands in its transaction. */
static RingNote *copies = NULL;
static int	copied = 0;
static int64 since_purge = PG_INT32_MAX;	/* rows stored */

static SavedPlan lock_plan = {
	.text = "LOCK TABLE scoreboard.refusal, scoreboard.flag IN ROW EXCLUSIVE MODE",
};

static SavedPlan store_plan = {
	.text = "INSERT INTO scoreboard.refusal (code, user_id, board, action_type, action_id, key_id, request_id, message, client_address, refused_at, repeats, dropped)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::inet, $10, $11, $12)",
	.nargs = 12, .types = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID
	}
};

static SavedPlan flag_plan = {
	.text = "INSERT INTO scoreboard.flag AS f (user_id, board_id, kind, reason, raised_at, seen_at)"
	" SELECT $1, b.board_id, 'verifier', $3, $4, $4 FROM scoreboard.board b WHERE b.name = $2"
	" ON CONFLICT (user_id, board_id, kind) WHERE cleared_at IS NULL DO UPDATE SET reason = excluded.reason, seen_at = excluded.seen_at, times = f.times + 1",
	.nargs = 4, .types = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.refusal WHERE refusal_id <= (SELECT refusal_id FROM scoreboard.refusal ORDER BY refusal_id DESC OFFSET $1 LIMIT 1)",
	.nargs = 1, .types = {INT8OID}
};

Size
refusal_log_shmem_size(void)
{
	return MAXALIGN(sizeof(RefusalRing));
}

void
refusal_log_attach(void)
{
	bool		found;

	ring = ShmemInitStruct("scoreboard refusals", sizeof(RefusalRing), &found);
	if (!found)
	{
		memset(ring, 0, sizeof(RefusalRing));
		LWLockInitialize(&ring->lock, compat_new_tranche("scoreboard_refusal"));
	}
	compat_register_tranche(ring->lock.tranche, "scoreboard_refusal");
}

/* ---------------------------------------------------------------------------
 * Noting
 * ------------------------------------------------------------------------- */

/* Cut between characters; an absent text is empty. */
static void
copy_text(char *target, Size size, const char *text)
{
	int			length = 0;

	if (text)
	{
		length = pg_mbcliplen(text, strlen(text), size - 1);
		memcpy(target, text, length);
	}
	target[length] = '\0';
}

/* The key that signed; else the one that the receipt names, whose signature is wrong or was not looked at. */
static void
copy_key_id(char *target, Size size, const char *key_id, const char *receipt)
{
	ReceiptPart parts[RECEIPT_MAX_PARTS];

	if (key_id[0] == '\0' && receipt && receipt_form_read(receipt, parts) > 0)
		key_id = parts[0].key_id;
	copy_text(target, size, key_id);
}

static void
fill_note(RefusalNote *note, const Refusal *refusal, const char *user_id, const char *key_id, const char *flag, const Request *request)
{
	static const Request nothing = {0};
	const char *address;

	if (refusal->nameless)
	{
		user_id = flag = NULL;
		key_id = "";
		request = &nothing;
	}
	address = request->client_address;
	/* What is refused for its form may hold anything here; one note that can't be stored would cost all that wait with it. */
	if (address && !request_is_address(address))
		address = NULL;
	note->code = refusal->code;
	note->refused_at = GetCurrentTimestamp();
	note->repeats = note->dropped = 0;
	copy_text(note->user_id, sizeof(note->user_id), user_id);
	copy_text(note->board, sizeof(note->board), request->board);
	copy_text(note->action_type, sizeof(note->action_type), request->action_type);
	copy_text(note->action_id, sizeof(note->action_id), request->action_id);
	copy_key_id(note->key_id, sizeof(note->key_id), key_id, request->receipt);
	copy_text(note->request_id, sizeof(note->request_id), request->request_id);
	copy_text(note->message, sizeof(note->message), refusal->message);
	copy_text(note->flag, sizeof(note->flag), flag);
	copy_text(note->client_address, sizeof(note->client_address), address);
}

/* What comes before the rate windows, is their own, or says that the server has trouble. */
static bool
is_repeatable(const RefusalNote *note)
{
	return note->code == REFUSAL_INVALID_REQUEST || note->code == REFUSAL_UNAUTHORIZED ||
		note->code == REFUSAL_RATE_LIMITED || note->code == REFUSAL_UNAVAILABLE;
}

static bool
are_alike(const RefusalNote *a, const RefusalNote *b)
{
	return a->code == b->code && strcmp(a->user_id, b->user_id) == 0 &&
		strcmp(a->client_address, b->client_address) == 0 && strcmp(a->message, b->message) == 0;
}

static uint64
hash_text(const char *text, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) text, (int) strlen(text), seed);
}

static uint64 *
latest_alike(const RefusalNote *note)
{
	uint64		hash = scoreboard_hash_key(0) ^ MyDatabaseId ^ ((uint64) note->code << 32);

	hash = hash_text(note->message, hash_text(note->client_address, hash_text(note->user_id, hash)));
	return &ring->latest[hash % RING_SIZE];
}

/* Caller holds the lock exclusively. */
static bool
count_repeat(const RefusalNote *note, uint64 latest)
{
	RingNote   *before = latest > 0 ? &ring->notes[(latest - 1) % RING_SIZE] : NULL;

	if (before == NULL || before->number != latest - 1 || before->database != MyDatabaseId || before->copied ||
		!are_alike(&before->note, note))
		return false;
	before->note.repeats++;
	return true;
}

/* The database's oldest note from that number on; NULL where there is none. Caller holds the lock. */
static RingNote *
oldest_note(Oid database, uint64 from)
{
	for (int i = 0; i < RING_SIZE; i++)
	{
		RingNote   *place = &ring->notes[(from + i) % RING_SIZE];

		if (place->database == database)
			return place;
	}
	return NULL;
}

/* The oldest gives way; the note that comes after it in its database tells. Caller holds the lock exclusively. */
static void
overwrite(RingNote *place, const RefusalNote *note)
{
	Oid			database = place->database;
	int64		dropped = 1 + place->note.repeats + place->note.dropped;
	RingNote   *next;

	if (OidIsValid(database))
		ring->lost += 1 + place->note.repeats;
	place->database = MyDatabaseId;
	place->copied = false;
	place->number = ring->written++;
	place->note = *note;
	next = OidIsValid(database) ? oldest_note(database, ring->written) : NULL;
	if (next)
		next->note.dropped += dropped;
}

/* May it have a line in the log? Then also how many before it had none. Caller holds the lock exclusively. */
static bool
take_line(TimestampTz now, int64 *unsaid)
{
	int64		second = timestamptz_to_time_t(now);

	if (scoreboard_log_refusals == 0)
		return false;
	if (second != ring->line_second)
		ring->lines = 0;
	ring->line_second = second;
	*unsaid = ring->unsaid;
	ring->unsaid = ring->lines < scoreboard_log_refusals ? 0 : ring->unsaid + 1;
	return ring->lines++ < scoreboard_log_refusals;
}

void
refusal_log_note(const Refusal *refusal, const char *user_id, const char *key_id, const char *flag, const Request *request)
{
	RefusalNote note;
	uint64	   *latest;
	int64		unsaid = 0;
	bool		line;

	fill_note(&note, refusal, user_id, key_id, flag, request);
	latest = is_repeatable(&note) ? latest_alike(&note) : NULL;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	if (latest == NULL || !count_repeat(&note, *latest))
	{
		if (latest)
			*latest = ring->written + 1;
		overwrite(&ring->notes[ring->written % RING_SIZE], &note);
	}
	line = take_line(note.refused_at, &unsaid);
	LWLockRelease(&ring->lock);

	publisher_wake();
	if (line)
		refusal_line_say(&note, unsaid);
}

bool
refusal_log_pending(void)
{
	bool		pending;

	LWLockAcquire(&ring->lock, LW_SHARED);
	pending = oldest_note(MyDatabaseId, 0) != NULL;
	LWLockRelease(&ring->lock);
	return pending;
}

uint64
refusal_log_lost(void)
{
	uint64		lost;

	LWLockAcquire(&ring->lock, LW_SHARED);
	lost = ring->lost;
	LWLockRelease(&ring->lock);
	return lost;
}

static void
forget_player(const char *user_id)
{
	RefusalNote of_player;

	copy_text(of_player.user_id, sizeof(of_player.user_id), user_id);
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RING_SIZE; i++)
	{
		if (ring->notes[i].database == MyDatabaseId && strcmp(ring->notes[i].note.user_id, of_player.user_id) == 0)
			ring->notes[i].database = InvalidOid;
	}
	LWLockRelease(&ring->lock);
}

/* scoreboard.forget_refusals(user_id text): what waits to be stored of the player; whoever calls it keeps the publisher from storing meanwhile. */
Datum
scoreboard_forget_refusals(PG_FUNCTION_ARGS)
{
	forget_player(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Storing, by the publisher
 * ------------------------------------------------------------------------- */

/* Copies this database's notes, oldest first; they keep their places until they are committed. */
static void
copy_notes(void)
{
	if (copies == NULL)
		copies = MemoryContextAlloc(TopMemoryContext, RING_SIZE * sizeof(RingNote));
	copied = 0;
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RING_SIZE; i++)
	{
		RingNote   *place = &ring->notes[(ring->written + i) % RING_SIZE];

		if (place->database != MyDatabaseId)
			continue;
		place->copied = true;
		copies[copied++] = *place;
	}
	LWLockRelease(&ring->lock);
}

void
refusal_log_forget(void)
{
	int64		kept = 0;		/* were counted as dropped, and are stored */
	RingNote   *next;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < copied; i++)
	{
		RingNote   *place = &ring->notes[copies[i].number % RING_SIZE];

		if (place->number == copies[i].number)
		{
			place->database = InvalidOid;
			continue;
		}
		ring->lost -= 1 + copies[i].note.repeats;
		kept += 1 + copies[i].note.repeats + copies[i].note.dropped;
	}
	next = kept > 0 ? oldest_note(MyDatabaseId, ring->written) : NULL;
	if (next)
		next->note.dropped -= Min(kept, next->note.dropped);
	LWLockRelease(&ring->lock);
	copied = 0;
}

static void
set_text(Datum *values, char *nulls, int column, const char *text)
{
	values[column] = CStringGetTextDatum(text);
	nulls[column] = text[0] ? ' ' : 'n';
}

static void
store_note(const RefusalNote *note)
{
	Datum		values[12];
	char		nulls[12];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(refusal_name(note->code));
	set_text(values, nulls, 1, note->user_id);
	set_text(values, nulls, 2, note->board);
	set_text(values, nulls, 3, note->action_type);
	set_text(values, nulls, 4, note->action_id);
	set_text(values, nulls, 5, note->key_id);
	set_text(values, nulls, 6, note->request_id);
	values[7] = CStringGetTextDatum(note->message);
	set_text(values, nulls, 8, note->client_address);
	values[9] = TimestampTzGetDatum(note->refused_at);
	values[10] = Int64GetDatum(note->repeats);
	values[11] = Int64GetDatum(note->dropped);
	plan_write(&store_plan, values, nulls, SPI_OK_INSERT);
}

/* Stands until it is cleared, however often it is raised. */
static void
raise_flag(const RefusalNote *note)
{
	Datum		values[4] = {
		CStringGetTextDatum(note->user_id), CStringGetTextDatum(note->board), CStringGetTextDatum(note->flag),
		TimestampTzGetDatum(note->refused_at)
	};

	plan_write(&flag_plan, values, NULL, SPI_OK_INSERT);
}

/* Rows are counted, since ids have gaps: after a crash, and for each time that storing failed. So not every time. */
static void
purge(void)
{
	Datum		kept[1] = {Int64GetDatum(scoreboard_refusals_kept)};

	since_purge += copied;
	if (since_purge <= scoreboard_refusals_kept / 100)
		return;
	plan_write(&purge_plan, kept, NULL, SPI_OK_DELETE);
	since_purge = 0;
}

static void
make_nameless(RefusalNote *note)
{
	note->user_id[0] = note->board[0] = note->action_type[0] = note->action_id[0] = '\0';
	note->key_id[0] = note->request_id[0] = note->client_address[0] = note->flag[0] = '\0';
}

static void
hide_forgotten(void)
{
	const char **user_ids = palloc(Max(copied, 1) * sizeof(char *));
	bool	   *forgotten = palloc(Max(copied, 1) * sizeof(bool));

	for (int i = 0; i < copied; i++)
		user_ids[i] = copies[i].note.user_id;
	tombstone_find(user_ids, copied, forgotten);
	for (int i = 0; i < copied; i++)
	{
		if (forgotten[i])
			make_nameless(&copies[i].note);
	}
}

void
refusal_log_store(void)
{
	RefusalCounts *counts;

	/* Before the copy: whoever forgets a player holds it off, so that nothing is stored from a copy of before. */
	plan_write(&lock_plan, NULL, NULL, SPI_OK_UTILITY);
	copy_notes();
	if (copied > 0)
		hide_forgotten();
	counts = refusal_counts_begin();
	for (int i = 0; i < copied; i++)
	{
		const RefusalNote *note = &copies[i].note;

		store_note(note);
		if (note->flag[0])
			raise_flag(note);
		refusal_counts_add(counts, note->board, refusal_name(note->code), 1 + note->repeats);
	}
	refusal_counts_store(counts);
	if (copied > 0)
		purge();
}
