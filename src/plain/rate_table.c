/*
 * plain/rate_table.c - exact sliding windows of many players in a memory of fixed size
 *
 * Owns the layout of a table. One log of attempts serves both windows: the
 * window of a minute is full exactly if the minute_limit-th newest attempt is
 * younger than a minute, that of a second likewise. Attempts older than the
 * longest window that is on are dropped whenever their entry is looked at.
 *
 * Memory: cells of 92 bytes. A player is one cell (RateEntry), with room for ten
 * attempts; more take further cells of 14 (RateMore), which are given back
 * as the attempts leave the window. With half a head of a bucket a player of
 * up to ten attempts a minute costs 94 bytes, one of 1,000 costs 6,770. Cells
 * come from the free list, then from memory not used yet, then from an entry of
 * which nothing counts any more: there are two lists of entries, by how long their
 * attempts count, each in the order of the newest attempt, so the oldest of each tells. Each
 * new entry first forgets two such, so that the cells in use are those of who is active.
 *
 * Takes no locks, allocates nothing, never fails halfway.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/rate_table.h"

#include <string.h>

#define RETRIES_MASK ((uint32_t) 0xf)
#define SWEEP_BEFORE_NEW 2

uint32_t
rate_table_buckets(uint32_t cells)
{
	return cells / 2 + 1;
}

uint32_t
rate_table_cells(size_t bytes)
{
	size_t		cells = bytes < sizeof(uint32_t) ? 0 :
		(bytes - sizeof(uint32_t)) * 2 / (2 * sizeof(RateCell) + sizeof(uint32_t));

	return cells < INT32_MAX ? (uint32_t) cells : INT32_MAX;
}

void
rate_table_init(RateHold *hold)
{
	RateTable  *table = hold->table;

	table->free = RATE_NO_CELL;
	table->fresh = table->used = table->entries = 0;
	for (int list = 0; list < RATE_LISTS; list++)
		table->oldest[list] = table->newest[list] = RATE_NO_CELL;
	for (uint32_t i = 0; i < table->buckets; i++)
		hold->heads[i] = RATE_NO_CELL;
}

/* ---- entries ---- */

static inline RateEntry *
entry_at(const RateHold *hold, uint32_t cell)
{
	return &hold->cells[cell].entry;
}

static inline RateMore *
more_at(const RateHold *hold, uint32_t cell)
{
	return &hold->cells[cell].more;
}

static int64_t
entry_last(const RateEntry *entry)
{
	return (int64_t) entry->last_high << 32 | entry->last_low;
}

static int
horizon(bool minute)
{
	return minute ? RATE_MINUTE : RATE_SECOND;
}

static bool
entry_is_idle(const RateHold *hold, const RateEntry *entry)
{
	return hold->now - entry_last(entry) >= horizon(entry->minute);
}

static uint32_t *
head_of(const RateHold *hold, uint32_t key_low)
{
	return &hold->heads[key_low % hold->table->buckets];
}

static uint32_t
entry_find(const RateHold *hold, const RateScope *scope)
{
	uint32_t	cell = *head_of(hold, (uint32_t) scope->key);

	while (cell != RATE_NO_CELL)
	{
		const RateEntry *entry = entry_at(hold, cell);

		if (entry->key_low == (uint32_t) scope->key && entry->key_high == (uint32_t) (scope->key >> 32))
			break;
		cell = entry->bucket_next;
	}
	return cell;
}

static void
list_unlink(RateHold *hold, const RateEntry *entry)
{
	RateTable  *table = hold->table;

	if (entry->older == RATE_NO_CELL)
		table->oldest[entry->minute] = entry->newer;
	else
		entry_at(hold, entry->older)->newer = entry->newer;
	if (entry->newer == RATE_NO_CELL)
		table->newest[entry->minute] = entry->older;
	else
		entry_at(hold, entry->newer)->older = entry->older;
}

static void
list_append(RateHold *hold, uint32_t cell, bool minute)
{
	RateTable  *table = hold->table;
	RateEntry  *entry = entry_at(hold, cell);

	entry->minute = minute;
	entry->last_low = (uint32_t) hold->now;
	entry->last_high = (uint16_t) (hold->now >> 32);
	entry->newer = RATE_NO_CELL;
	entry->older = table->newest[minute];
	if (entry->older == RATE_NO_CELL)
		table->oldest[minute] = cell;
	else
		entry_at(hold, entry->older)->newer = cell;
	table->newest[minute] = cell;
}

/* ---- cells ---- */

static void
cell_give_back(RateHold *hold, uint32_t cell)
{
	more_at(hold, cell)->next = hold->table->free;
	hold->table->free = cell;
	hold->table->used--;
}

static void
give_back_all(RateHold *hold, uint32_t first)
{
	uint32_t	next;

	for (; first != RATE_NO_CELL; first = next)
	{
		next = more_at(hold, first)->next;
		cell_give_back(hold, first);
	}
}

static void
entry_forget(RateHold *hold, uint32_t cell)
{
	RateEntry  *entry = entry_at(hold, cell);
	uint32_t   *link = head_of(hold, entry->key_low);

	while (*link != cell)
		link = &entry_at(hold, *link)->bucket_next;
	*link = entry->bucket_next;
	list_unlink(hold, entry);
	give_back_all(hold, entry->more);
	cell_give_back(hold, cell);
	hold->table->entries--;
}

/* Forgets the entry that has been idle for longest, if one is. */
static bool
forget_idle(RateHold *hold)
{
	for (int list = 0; list < RATE_LISTS; list++)
	{
		uint32_t	cell = hold->table->oldest[list];

		if (cell != RATE_NO_CELL && entry_is_idle(hold, entry_at(hold, cell)))
		{
			entry_forget(hold, cell);
			return true;
		}
	}
	return false;
}

static uint32_t
cell_allocate(RateHold *hold)
{
	RateTable  *table = hold->table;
	uint32_t	cell = table->free;

	if (cell == RATE_NO_CELL && table->fresh < table->cells)
		cell = table->fresh++;
	else if (cell == RATE_NO_CELL && !forget_idle(hold))
		return RATE_NO_CELL;
	else
	{
		cell = table->free;
		table->free = more_at(hold, cell)->next;
	}
	table->used++;
	return cell;
}

/* A new entry without attempts, or RATE_NO_CELL. */
static uint32_t
entry_create(RateHold *hold, const RateScope *scope)
{
	uint32_t	cell;
	uint32_t   *head;
	RateEntry  *entry;

	rate_table_sweep(hold, SWEEP_BEFORE_NEW);
	cell = cell_allocate(hold);
	if (cell == RATE_NO_CELL)
		return RATE_NO_CELL;
	head = head_of(hold, (uint32_t) scope->key);
	entry = entry_at(hold, cell);
	entry->key_low = (uint32_t) scope->key;
	entry->key_high = (uint32_t) (scope->key >> 32);
	entry->count = 0;
	entry->more = RATE_NO_CELL;
	entry->bucket_next = *head;
	*head = cell;
	list_append(hold, cell, scope->minute_limit > 0);
	hold->table->entries++;
	return cell;
}

/* ---- slots ---- */

/* Steps through an entry's slots in order: cursor_next() before each, the first too. */
typedef struct Cursor
{
	uint32_t   *hashes;			/* of the cell that it is in */
	uint16_t   *times;
	int			index;
	int			room;
	uint32_t	next;
} Cursor;

static Cursor
cursor_start(RateEntry *entry)
{
	return (Cursor) {entry->hashes, entry->times, -1, RATE_ENTRY_SLOTS, entry->more};
}

static void
cursor_next_cell(const RateHold *hold, Cursor *cursor)
{
	RateMore   *more = more_at(hold, cursor->next);

	*cursor = (Cursor) {more->hashes, more->times, 0, RATE_MORE_SLOTS, more->next};
}

static void
cursor_next(const RateHold *hold, Cursor *cursor)
{
	if (++cursor->index == cursor->room)
		cursor_next_cell(hold, cursor);
}

/* The slot of which the first has position 0. */
static Cursor
cursor_at(const RateHold *hold, RateEntry *entry, int position)
{
	Cursor		cursor = cursor_start(entry);

	while (position >= cursor.room)
	{
		position -= cursor.room;
		cursor_next_cell(hold, &cursor);
	}
	cursor.index = position;
	return cursor;
}

static uint32_t *
hash_at(const Cursor *cursor)
{
	return &cursor->hashes[cursor->index];
}

static uint16_t *
time_at(const Cursor *cursor)
{
	return &cursor->times[cursor->index];
}

/* Exact for an entry that is not idle: when its newest attempt came, the others were younger than a minute. */
static int64_t
slot_age(const RateHold *hold, const RateEntry *entry, const Cursor *cursor)
{
	return hold->now - entry_last(entry) + (uint16_t) ((uint16_t) entry->last_low - *time_at(cursor));
}

/* Gives back the cells behind the last slot. */
static void
trim(RateHold *hold, RateEntry *entry)
{
	uint32_t   *link = &entry->more;

	for (int room = RATE_ENTRY_SLOTS; room < entry->count; room += RATE_MORE_SLOTS)
		link = &more_at(hold, *link)->next;
	give_back_all(hold, *link);
	*link = RATE_NO_CELL;
}

/* Forgets what has left every window, so that slots stay packed. */
static void
drop_expired(RateHold *hold, RateEntry *entry, int64_t length)
{
	Cursor		from = cursor_start(entry);
	Cursor		to = from;
	int			kept = 0;

	if (hold->now - entry_last(entry) < length)
	{
		for (int i = 0; i < entry->count; i++)
		{
			cursor_next(hold, &from);
			if (slot_age(hold, entry, &from) >= length)
				continue;
			/* The oldest still counts: so does everything. */
			if (kept == i)
				return;
			cursor_next(hold, &to);
			*hash_at(&to) = *hash_at(&from);
			*time_at(&to) = *time_at(&from);
			kept++;
		}
	}
	entry->count = kept;
	trim(hold, entry);
}

/* What is kept of an attempt's hash; 0 is no attempt's. */
static uint32_t
slot_hash(uint64_t attempt)
{
	uint32_t	hash = (uint32_t) attempt & ~RETRIES_MASK;

	return attempt != 0 && hash == 0 ? RETRIES_MASK + 1 : hash;
}

/* Where the attempt stands with a free retry left; NULL: it needs a slot. */
static uint32_t *
find_retry(const RateHold *hold, RateEntry *entry, uint64_t attempt)
{
	Cursor		cursor = cursor_start(entry);
	uint32_t	hash = slot_hash(attempt);

	for (int i = 0; attempt != 0 && i < entry->count; i++)
	{
		cursor_next(hold, &cursor);
		if ((*hash_at(&cursor) & ~RETRIES_MASK) == hash && (*hash_at(&cursor) & RETRIES_MASK) < RATE_FREE_RETRIES)
			return hash_at(&cursor);
	}
	return NULL;
}

/* How long until a window of that length has room for one more; 0 if it has. */
static int64_t
wait_for(const RateHold *hold, RateEntry *entry, int limit, int64_t length)
{
	Cursor		cursor;
	int64_t		age;

	if (limit == 0 || entry->count < limit)
		return 0;
	cursor = cursor_at(hold, entry, entry->count - limit);
	age = slot_age(hold, entry, &cursor);
	return age < length ? length - age : 0;
}

/* Adds a slot behind the others. False: no cell for it. */
static bool
append(RateHold *hold, uint32_t cell, const RateScope *scope, uint64_t attempt)
{
	RateEntry  *entry = entry_at(hold, cell);
	Cursor		cursor;

	/* First, so that making room for a further cell doesn't forget this very entry. */
	list_unlink(hold, entry);
	list_append(hold, cell, scope->minute_limit > 0);
	if (entry->count >= RATE_ENTRY_SLOTS && (entry->count - RATE_ENTRY_SLOTS) % RATE_MORE_SLOTS == 0)
	{
		uint32_t	more = cell_allocate(hold);
		uint32_t   *link = &entry->more;

		if (more == RATE_NO_CELL)
			return false;
		more_at(hold, more)->next = RATE_NO_CELL;
		while (*link != RATE_NO_CELL)
			link = &more_at(hold, *link)->next;
		*link = more;
	}
	cursor = cursor_at(hold, entry, entry->count++);
	*hash_at(&cursor) = slot_hash(attempt);
	*time_at(&cursor) = (uint16_t) hold->now;
	return true;
}

/* ---- what callers see ---- */

/* What was found of an attempt in one scope. */
typedef struct Finding
{
	uint32_t	cell;			/* RATE_NO_CELL: no entry */
	uint32_t   *retry;			/* where it takes no further slot; NULL: it needs one */
	int64_t		wait;			/* until there is one */
} Finding;

static Finding
find(RateHold *hold, const RateScope *scope, uint64_t attempt)
{
	Finding		finding = {.cell = entry_find(hold, scope)};
	RateEntry  *entry;
	int64_t		second;

	if (finding.cell == RATE_NO_CELL)
		return finding;
	entry = entry_at(hold, finding.cell);
	drop_expired(hold, entry, horizon(scope->minute_limit > 0));
	finding.retry = find_retry(hold, entry, attempt);
	if (finding.retry)
		return finding;
	finding.wait = wait_for(hold, entry, scope->minute_limit, RATE_MINUTE);
	second = wait_for(hold, entry, scope->second_limit, RATE_SECOND);
	if (second > finding.wait)
		finding.wait = second;
	return finding;
}

static bool
take(RateHold *hold, const RateScope *scope, uint64_t attempt, Finding finding)
{
	if (finding.retry)
	{
		(*finding.retry)++;
		return true;
	}
	if (finding.cell == RATE_NO_CELL)
		finding.cell = entry_create(hold, scope);
	return finding.cell != RATE_NO_CELL && append(hold, finding.cell, scope, attempt);
}

RateOutcome
rate_table_look(RateHold *hold, const RateScope *scopes, int count, uint64_t attempt, int64_t *wait)
{
	*wait = 0;
	for (int i = 0; i < count; i++)
	{
		Finding		finding = find(hold, &scopes[i], attempt);

		if (finding.wait > *wait)
			*wait = finding.wait;
	}
	return *wait > 0 ? RATE_EXHAUSTED : RATE_TAKEN;
}

RateOutcome
rate_table_take(RateHold *hold, const RateScope *scopes, int count, uint64_t attempt, int64_t *wait)
{
	Finding		first = find(hold, &scopes[0], attempt);

	/* Those behind it are looked for again: what the first needs may forget their idle entries. */
	rate_table_look(hold, scopes + 1, count - 1, attempt, wait);
	if (first.wait > *wait)
		*wait = first.wait;
	if (*wait > 0)
		return RATE_EXHAUSTED;
	if (!take(hold, &scopes[0], attempt, first))
		return RATE_TABLE_FULL;
	for (int i = 1; i < count; i++)
	{
		if (!take(hold, &scopes[i], attempt, find(hold, &scopes[i], attempt)))
			return RATE_TABLE_FULL;
	}
	return RATE_TAKEN;
}

int
rate_table_sweep(RateHold *hold, int most)
{
	int			forgotten = 0;

	while (forgotten < most && forget_idle(hold))
		forgotten++;
	return forgotten;
}
