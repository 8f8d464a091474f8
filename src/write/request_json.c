/*
 * write/request_json.c - increments read from a batch's JSON text, in exactly one way
 *
 * An element of a batch is judged on its own text: a cast to jsonb would fail for the whole batch on \u0000 or
 * 1e400000, would merge duplicate members and turn 1e1 into 10. The parser is the server's own (common/jsonapi.h),
 * which hands out numbers as they were written and answers bad text with a code instead of an error.
 *
 * Elements are found by counting brackets, without recursion: the parser would raise an error for all of a batch that
 * nests deeper than the stack allows, so it only ever sees elements whose depth is known to be small.
 *
 * Allocates in the current memory context; raises nothing but out of memory.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "compat.h"
#include "write/request_json.h"

#define DEPTH_MAX 32
#define EXPONENT_MAX 300		/* decimal exponents beyond are nobody's data */

#define NOT_WELL_FORMED \
	"the request is not a well-formed JSON object without duplicate members, at most 32 levels deep"

typedef enum MemberKind
{
	MEMBER_TEXT,
	MEMBER_INTEGER,
	MEMBER_OBJECT				/* metadata: kept as it was written */
} MemberKind;

typedef struct Member
{
	const char *name;
	MemberKind	kind;
	size_t		offset;			/* in Request; of the text or the number */
	size_t		given_offset;	/* of an integer's flag */
} Member;

static const Member members[] = {
	{"actionType", MEMBER_TEXT, offsetof(Request, action_type), 0},
	{"actionId", MEMBER_TEXT, offsetof(Request, action_id), 0},
	{"board", MEMBER_TEXT, offsetof(Request, board), 0},
	{"points", MEMBER_INTEGER, offsetof(Request, points), offsetof(Request, has_points)},
	{"subscore", MEMBER_INTEGER, offsetof(Request, subscore), offsetof(Request, has_subscore)},
	{"detail", MEMBER_TEXT, offsetof(Request, detail), 0},
	{"issuedAt", MEMBER_INTEGER, offsetof(Request, issued_at), offsetof(Request, has_issued_at)},
	{"receipt", MEMBER_TEXT, offsetof(Request, receipt), 0},
	{"metadata", MEMBER_OBJECT, 0, 0},
	{"token", MEMBER_TEXT, offsetof(Request, token), 0},
	{"idempotencyKey", MEMBER_TEXT, offsetof(Request, idempotency_key), 0},
	{"requestId", MEMBER_TEXT, offsetof(Request, request_id), 0},
	{"clientAddress", MEMBER_TEXT, offsetof(Request, client_address), 0},
};

/* A member's name, in the object of that number. */
typedef struct MemberName
{
	int			object;
	const char *text;
} MemberName;

typedef struct Reader
{
	JsonLexContext *lexer;
	Request    *request;
	MemoryContext keep;			/* for what outlives the parse */
	const Member *member;		/* whose value comes, NULL for one that nobody knows */
	const char *value;			/* where it starts */
	char	   *metadata;		/* its text, or NULL */
	const char *wrong;			/* what the first member of a wrong type must be, NULL: none is */
	const Member *wrong_member;
	int			depth;			/* open objects and lists */
	int			objects;		/* seen so far */
	int			open[DEPTH_MAX + 1];	/* by depth: the open object's number */
	MemberName *names;
	int			name_count;
	int			name_room;
} Reader;

/* ---------- the batch ---------- */

/* The position behind a string that begins at text. */
static const char *
string_end(const char *text, const char *end)
{
	for (text++; text < end && *text != '"'; text++)
	{
		if (*text == '\\')
			text++;
	}
	return text < end ? text + 1 : end;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool
request_json_open(const char *json, size_t length, RequestArray *array)
{
	array->at = json;
	array->end = json + length;
	while (array->at < array->end && is_blank(*array->at))
		array->at++;
	return array->at < array->end && *array->at++ == '[';
}

bool
request_json_next(RequestArray *array, RequestElement *element)
{
	const char *at = array->at;
	int			depth = 0;

	while (at < array->end && (is_blank(*at) || *at == ','))
		at++;
	*element = (RequestElement) {.text = at};
	while (at < array->end && (depth > 0 || (*at != ',' && *at != ']')))
	{
		if (*at == '"')
		{
			at = string_end(at, array->end);
			continue;
		}
		if (*at == '{' || *at == '[')
		{
			depth++;
			element->depth = Max(element->depth, depth);
		}
		else if (*at == '}' || *at == ']')
			depth--;
		at++;
	}
	element->length = at - element->text;
	array->at = at;
	return element->length > 0;
}

/* ---------- an element ---------- */

static const Member *
find_member(const char *name)
{
	for (int i = 0; i < lengthof(members); i++)
	{
		if (strcmp(members[i].name, name) == 0)
			return &members[i];
	}
	return NULL;
}

static void
wrong_type(Reader *reader, const char *must)
{
	if (reader->wrong == NULL)
	{
		reader->wrong = must;
		reader->wrong_member = reader->member;
	}
}

/* A list or an object begins. */
static void
enter(Reader *reader, bool is_object)
{
	if (reader->depth == 1 && reader->member && !(is_object && reader->member->kind == MEMBER_OBJECT))
		wrong_type(reader, reader->member->kind == MEMBER_TEXT ? "be a string" :
				   reader->member->kind == MEMBER_OBJECT ? "be a JSON object" :
				   "be an integer, without fraction or exponent");
	reader->depth++;
}

static CompatJsonAction
object_start(void *state)
{
	Reader	   *reader = state;

	enter(reader, true);
	reader->open[reader->depth] = ++reader->objects;
	compat_json_go_on();
}

static CompatJsonAction
array_start(void *state)
{
	enter(state, false);
	compat_json_go_on();
}

static CompatJsonAction
leave(void *state)
{
	((Reader *) state)->depth--;
	compat_json_go_on();
}

static CompatJsonAction
field_start(void *state, char *name, bool is_null)
{
	Reader	   *reader = state;

	if (reader->name_count == reader->name_room)
	{
		reader->name_room *= 2;
		reader->names = repalloc(reader->names, reader->name_room * sizeof(MemberName));
	}
	reader->names[reader->name_count++] = (MemberName) {reader->open[reader->depth], name};
	if (reader->depth == 1)
	{
		reader->member = is_null ? NULL : find_member(name);	/* null counts as not given */
		reader->value = reader->lexer->token_start;
	}
	compat_json_go_on();
}

static CompatJsonAction
field_end(void *state, char *name, bool is_null)
{
	Reader	   *reader = state;

	if (reader->depth == 1 && reader->member && reader->member->kind == MEMBER_OBJECT)
	{
		size_t		length = reader->lexer->prev_token_terminator - reader->value;

		reader->metadata = MemoryContextAllocZero(reader->keep, length + 1);
		memcpy(reader->metadata, reader->value, length);
	}
	compat_json_go_on();
}

static void
take_integer(Reader *reader, const char *token, JsonTokenType type)
{
	char	   *place = (char *) reader->request;
	char	   *end;

	errno = 0;
	*(int64 *) (place + reader->member->offset) = strtoi64(token, &end, 10);
	*(bool *) (place + reader->member->given_offset) = true;
	if (type != JSON_TOKEN_NUMBER || *end != '\0' || errno != 0)
		wrong_type(reader, "be an integer, without fraction or exponent");
}

static CompatJsonAction
scalar(void *state, char *token, JsonTokenType type)
{
	Reader	   *reader = state;

	if (reader->depth == 1 && reader->member)
	{
		switch (reader->member->kind)
		{
			case MEMBER_TEXT:
				if (type != JSON_TOKEN_STRING)
					wrong_type(reader, "be a string");
				else
					*(const char **) ((char *) reader->request + reader->member->offset) = MemoryContextStrdup(reader->keep, token);
				break;
			case MEMBER_INTEGER:
				take_integer(reader, token, type);
				break;
			case MEMBER_OBJECT:
				wrong_type(reader, "be a JSON object");
				break;
		}
	}
	compat_json_go_on();
}

static int
compare_names(const void *a, const void *b)
{
	const MemberName *first = a;
	const MemberName *second = b;

	if (first->object != second->object)
		return first->object < second->object ? -1 : 1;
	return strcmp(first->text, second->text);
}

static bool
has_duplicates(Reader *reader)
{
	qsort(reader->names, reader->name_count, sizeof(MemberName), compare_names);
	for (int i = 1; i < reader->name_count; i++)
	{
		if (compare_names(&reader->names[i - 1], &reader->names[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Fills the request; false where the element is no strict JSON object. What the parser allocates goes at once: what a
 * batch of hundreds leaves behind would be fetched from the system and given back with every batch.
 */
static bool
parse(const RequestElement *element, Reader *reader)
{
	MemoryContext scratch;
	bool		parsed;
	JsonSemAction actions = {
		.semstate = reader,
		.object_start = object_start,
		.object_end = leave,
		.array_start = array_start,
		.array_end = leave,
		.object_field_start = field_start,
		.object_field_end = field_end,
		.scalar = scalar,
	};

	if (element->depth > DEPTH_MAX || element->text[0] != '{')
		return false;
	scratch = AllocSetContextCreate(reader->keep, "scoreboard request", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	reader->lexer = compat_json_lexer((char *) element->text, (int) element->length);
	reader->name_room = 16;
	reader->names = palloc(reader->name_room * sizeof(MemberName));
	parsed = pg_parse_json(reader->lexer, &actions) == JSON_SUCCESS && !has_duplicates(reader);
	MemoryContextSwitchTo(reader->keep);
	MemoryContextDelete(scratch);
	return parsed;
}

/* Does every number outside of strings stay within what PostgreSQL's numeric reads? The text is well-formed. */
static bool
numbers_fit(const char *json, const char *end)
{
	while (json < end)
	{
		if (*json == '"')
		{
			json = string_end(json, end);
			continue;
		}
		if ((*json == 'e' || *json == 'E') && (json[1] == '+' || json[1] == '-' || (json[1] >= '0' && json[1] <= '9')))
		{
			long		exponent = strtol(json + 1, NULL, 10);

			if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
				return false;
		}
		json++;
	}
	return true;
}

/* As jsonb: from the client's own text, so that its numbers keep every digit. {} counts as none. */
static bool
take_metadata(const char *json, Request *request, Refusal *refusal)
{
	size_t		length = strlen(json);
	Jsonb	   *metadata;

	if (length > REQUEST_METADATA_MAX)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "metadata must not be longer than 4096 bytes");
	if (!numbers_fit(json, json + length))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "metadata holds a number that is out of range");
	metadata = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	if (JB_ROOT_COUNT(metadata) > 0)
		request->metadata = metadata;
	return true;
}

bool
request_json_read(const RequestElement *element, Request *request, Refusal *refusal)
{
	Reader		reader = {.request = request, .keep = CurrentMemoryContext};

	*request = (Request) {.board = "global"};
	if (!parse(element, &reader))
	{
		*request = (Request) {0};
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, NOT_WELL_FORMED);
	}
	if (reader.wrong)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "%s must %s", reader.wrong_member->name, reader.wrong);
	if (reader.metadata && !take_metadata(reader.metadata, request, refusal))
		return false;
	return request_check(request, refusal);
}
