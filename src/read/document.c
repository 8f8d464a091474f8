/*
 * read/document.c - a board's top list as JSON text
 *
 * The only place that writes or takes apart such a text, so the one that is
 * stored, pushed and answered is the same to the byte. "entries" is the last
 * member: two documents show the same list exactly if they end alike.
 * Owns nothing, takes no lock.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "common/shortest_dec.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "read/document.h"
#include "read/movement.h"

void
document_append_string(StringInfo text, const char *value)
{
	escape_json(text, value);
}

void
document_append_time(StringInfo text, TimestampTz moment)
{
	struct pg_tm tm;
	fsec_t		fraction;

	/* Milliseconds are cut, not rounded: a time must not lie ahead of what happened. */
	if (timestamp2tm(moment, NULL, &tm, &fraction, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	appendStringInfo(text, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"",
					 tm.tm_year, tm.tm_mon, tm.tm_mday,
					 tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fraction / 1000);
}

void
document_append_percentile(StringInfo text, int64 behind, int64 players)
{
	char		number[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(100.0 * (double) behind / (double) players, number);
	appendStringInfoString(text, number);
}

static void
append_names(StringInfo text, const ListedRow *row)
{
	appendStringInfoString(text, ",\"userId\":");
	document_append_string(text, row->user_id);
	appendStringInfoString(text, ",\"displayName\":");
	document_append_string(text, row->display_name);
	if (row->avatar_url)
	{
		appendStringInfoString(text, ",\"avatarUrl\":");
		document_append_string(text, row->avatar_url);
	}
}

void
document_append_player(StringInfo text, const ListedRow *row)
{
	appendStringInfo(text, "\"rank\":" INT64_FORMAT, row->at.rank);
	append_names(text, row);
	appendStringInfo(text, ",\"score\":" INT64_FORMAT, row->at.key.score);
	if (row->at.key.subscore != NO_SUBSCORE)
		appendStringInfo(text, ",\"subscore\":" INT64_FORMAT, row->at.key.subscore);
	if (row->detail)
	{
		appendStringInfoString(text, ",\"detail\":");
		document_append_string(text, row->detail);
	}
	if (row->shows_movement && row->has_moved_from)
		appendStringInfo(text, ",\"movement\":" INT64_FORMAT, row->movement);
	else if (row->shows_movement)
		appendStringInfoString(text, ",\"movement\":null");
}

void
document_append_entry(StringInfo text, const ListedRow *row)
{
	appendStringInfoChar(text, '{');
	document_append_player(text, row);
	appendStringInfoChar(text, '}');
}

void
document_append_entries(StringInfo text, const ListedRow *rows, int count)
{
	char		separator = '[';

	for (int i = 0; i < count; i++)
	{
		if (rows[i].user_id == NULL)
			continue;
		appendStringInfoChar(text, separator);
		document_append_entry(text, &rows[i]);
		separator = ',';
	}
	appendStringInfoString(text, separator == '[' ? "[]" : "]");
}

char *
document_entries(const Board *board, int32 season, Listing *listing)
{
	StringInfoData text;

	listing_range(board, season, 0, board->top_size, true, listing);
	movement_fill_in(board, season, listing->rows, listing->found);
	initStringInfo(&text);
	appendStringInfoString(&text, "\"entries\":");
	document_append_entries(&text, listing->rows, listing->found);
	return text.data;
}

static void
append_bound(StringInfo text, TimestampTz moment)
{
	if (TIMESTAMP_NOT_FINITE(moment))
		appendStringInfoString(text, "null");
	else
		document_append_time(text, moment);
}

char *
document_assemble(const Board *board, int32 season, const CalendarSpan *span, int64 version,
				  TimestampTz updated_at, int64 players, const char *entries)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"board\":");
	document_append_string(&text, board->name);
	appendStringInfo(&text, ",\"season\":%d,\"seasonStart\":", season);
	append_bound(&text, span->begin);
	appendStringInfoString(&text, ",\"seasonEnd\":");
	append_bound(&text, span->end);
	appendStringInfo(&text, ",\"version\":" INT64_FORMAT ",\"updatedAt\":", version);
	document_append_time(&text, updated_at);
	appendStringInfo(&text, ",\"players\":" INT64_FORMAT ",%s}", players, entries);
	return text.data;
}

/* Where the text of the member "entries" begins: within a string its quotation marks would be escaped. */
static const char *
find_entries(const char *document)
{
	const char *entries = strstr(document, ",\"entries\":[");

	return entries ? entries + 1 : NULL;
}

bool
document_shows(const char *document, const char *entries)
{
	const char *stored = find_entries(document);
	size_t		length = strlen(entries);

	/* A document that somebody damaged shows nothing: it is published anew. */
	return stored && strncmp(stored, entries, length) == 0 && strcmp(stored + length, "}") == 0;
}

bool
document_counts(const char *document, int64 players)
{
	const char *entries = find_entries(document);
	char	   *member = psprintf(",\"players\":" INT64_FORMAT ",", players);
	size_t		length = strlen(member);

	return entries && (size_t) (entries - document) >= length && strncmp(entries - length, member, length) == 0;
}

bool
document_is_of(const char *document, const Board *board)
{
	char	   *begin = psprintf("{\"board\":\"%s\",", board->name);

	return strncmp(document, begin, strlen(begin)) == 0;
}

/* Before it there is nothing but the board's name, whose characters are limited. */
bool
document_is_open(const char *document)
{
	return strstr(document, ",\"seasonEnd\":null,") != NULL;
}

/* Behind the object that begins at text; NULL where it doesn't end. */
static const char *
object_end(const char *text)
{
	int			depth = 0;
	bool		in_string = false;

	for (; *text != '\0'; text++)
	{
		if (in_string && *text == '\\' && text[1] != '\0')
			text++;
		else if (*text == '"')
			in_string = !in_string;
		else if (!in_string && *text == '{')
			depth++;
		else if (!in_string && *text == '}' && --depth == 0)
			return text + 1;
	}
	return NULL;
}

static const char *
skip_object(const char *text)
{
	const char *end = object_end(text);

	if (end == NULL)
		elog(ERROR, "a stored document ends within an entry");
	return end;
}

/* Within strings quotation marks are escaped, so these members are found where they are. */
static bool
append_renamed(StringInfo text, const char *entry, const char *end, const ListedRow *row)
{
	const char *names = strstr(entry, ",\"userId\":");
	const char *score = strstr(entry, ",\"score\":");

	if (names == NULL || score == NULL || names > score || score >= end)
		return false;
	appendBinaryStringInfo(text, entry, (int) (names - entry));
	append_names(text, row);
	appendBinaryStringInfo(text, score, (int) (end - score));
	return true;
}

char *
document_renamed(const char *document, const ListedRow *rows, int count)
{
	StringInfoData text;
	const char *at = find_entries(document);

	if (at == NULL)
		return NULL;
	at += strlen("\"entries\":[");
	initStringInfo(&text);
	appendStringInfoString(&text, "\"entries\":[");
	for (int i = 0; i < count; i++)
	{
		const char *end = *at == '{' ? object_end(at) : NULL;

		if (end == NULL || rows[i].user_id == NULL || !append_renamed(&text, at, end, &rows[i]))
			return NULL;
		at = end;
		if (i < count - 1 && *at++ != ',')
			return NULL;
		if (i < count - 1)
			appendStringInfoChar(&text, ',');
	}
	appendStringInfoChar(&text, ']');
	return strcmp(at, "]}") == 0 ? text.data : NULL;
}

char *
document_cut(const char *document, int keep)
{
	StringInfoData text;
	const char *end = find_entries(document);

	if (end == NULL)
		elog(ERROR, "a stored document has no entries");
	end += strlen("\"entries\":[");
	for (int i = 0; i < keep && *end != ']'; i++)
	{
		if (i > 0)
			end++;				/* the comma */
		end = skip_object(end);
	}
	initStringInfo(&text);
	appendBinaryStringInfo(&text, document, (int) (end - document));
	appendStringInfoString(&text, "]}");
	return text.data;
}
