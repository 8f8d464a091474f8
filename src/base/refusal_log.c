/*
 * base/refusal_log.c - refusals outlive the transaction that they rolled back
 *
 * A refused increment writes nothing and its transaction rolls back, yet an
 * administrator wants to see who was refused what. So refusals go through a ring in
 * shared memory to the publisher, which stores them. The ring is bounded: where
 * refusals come faster than they are stored, the oldest give way and are counted. Secrets (token, receipt) never enter it.
 *
 * Locks: the ring's LWLock, nothing below it, held for a copy of one entry, or by the publisher for a copy of all.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/refusal_log.h"
#include "publish/publisher.h"

#define RING_SIZE 1024
#define TEXT_SIZE 256			/* bytes kept of an id */
#define ADDRESS_SIZE 46			/* the longest IPv6 address */

typedef struct RefusalNote
{
	Oid			database;		/* InvalidOid: empty */
	uint64		number;			/* which one it is since the server started */
	RefusalCode code;
	TimestampTz refused_at;
	char		user_id[TEXT_SIZE];
	char		action_id[TEXT_SIZE];
	char		request_id[TEXT_SIZE];
	char		message[REFUSAL_MESSAGE_MAX];
	char		client_address[ADDRESS_SIZE];
} RefusalNote;

typedef struct RefusalRing
{
	LWLock		lock;			/* guards all below */
	uint64		written;		/* the next one goes to written % RING_SIZE */
	uint64		lost;
	RefusalNote notes[RING_SIZE];
} RefusalRing;

static RefusalRing *ring = NULL;
static uint64 copied_up_to = 0; /* the publisher: notes before this number are in its transaction */

static SavedPlan store_plan = {
	.text = "INSERT INTO scoreboard.refusal (code, user_id, action_id, request_id, message, client_address, refused_at)"
	" VALUES ($1, $2, $3, $4, $5, $6::inet, $7)",
	.nargs = 7, .types = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.refusal WHERE refusal_id <= (SELECT max(refusal_id) FROM scoreboard.refusal) - $1",
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

void
refusal_log_note(const Refusal *refusal, const char *user_id, const Request *request)
{
	RefusalNote *note;
	const char *address = request->client_address;

	/* What is refused for its form may hold anything here; one note that can't be stored would cost all that wait with it. */
	if (address && !request_is_address(address))
		address = NULL;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	note = &ring->notes[ring->written % RING_SIZE];
	if (OidIsValid(note->database))
		ring->lost++;
	note->number = ring->written++;
	note->database = MyDatabaseId;
	note->code = refusal->code;
	note->refused_at = GetCurrentTimestamp();
	copy_text(note->user_id, TEXT_SIZE, user_id);
	copy_text(note->action_id, TEXT_SIZE, request->action_id);
	copy_text(note->request_id, TEXT_SIZE, request->request_id);
	copy_text(note->message, REFUSAL_MESSAGE_MAX, refusal->message);
	copy_text(note->client_address, ADDRESS_SIZE, address);
	LWLockRelease(&ring->lock);
	publisher_wake();
}

bool
refusal_log_pending(void)
{
	bool		pending = false;

	LWLockAcquire(&ring->lock, LW_SHARED);
	for (int i = 0; i < RING_SIZE && !pending; i++)
		pending = ring->notes[i].database == MyDatabaseId;
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

/* Copies this database's notes, oldest first; they keep their places until they are committed. */
static int
copy_notes(RefusalNote *notes)
{
	int			count = 0;

	LWLockAcquire(&ring->lock, LW_SHARED);
	for (int i = 0; i < RING_SIZE; i++)
	{
		const RefusalNote *note = &ring->notes[(ring->written + i) % RING_SIZE];

		if (note->database == MyDatabaseId)
			notes[count++] = *note;
	}
	copied_up_to = ring->written;
	LWLockRelease(&ring->lock);
	return count;
}

void
refusal_log_forget(void)
{
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RING_SIZE; i++)
	{
		RefusalNote *note = &ring->notes[i];

		if (note->database == MyDatabaseId && note->number < copied_up_to)
			note->database = InvalidOid;
	}
	LWLockRelease(&ring->lock);
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
	Datum		values[7];
	char		nulls[7] = {' ', ' ', ' ', ' ', ' ', ' ', ' '};

	values[0] = CStringGetTextDatum(refusal_name(note->code));
	set_text(values, nulls, 1, note->user_id);
	set_text(values, nulls, 2, note->action_id);
	set_text(values, nulls, 3, note->request_id);
	values[4] = CStringGetTextDatum(note->message);
	set_text(values, nulls, 5, note->client_address);
	values[6] = TimestampTzGetDatum(note->refused_at);
	plan_write(&store_plan, values, nulls, SPI_OK_INSERT);
}

void
refusal_log_store(void)
{
	RefusalNote *notes = palloc(RING_SIZE * sizeof(RefusalNote));
	int			count = copy_notes(notes);
	Datum		kept[1] = {Int64GetDatum(scoreboard_refusals_kept)};

	for (int i = 0; i < count; i++)
		store_note(&notes[i]);
	if (count > 0)
		plan_write(&purge_plan, kept, NULL, SPI_OK_DELETE);
	pfree(notes);
}
