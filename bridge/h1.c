/*
 * h1.c - reads the head of an HTTP/1.1 request, or says why not
 *
 * Two passes. The first looks for the head's end byte by byte, from where the
 * last call stopped, and refuses at once what can't become a head: a CR or LF
 * alone, other control bytes, too many bytes. The second, once, splits the
 * lines. So a head that comes slowly costs as much as one that comes at once,
 * and rubbish is refused before anybody waits for its end.
 *
 * RFC 9112 allows a recipient to repair several things (bare LF, blanks before
 * the colon, folding, empty lines before the request line). Each repair is a
 * place where two servers may read one request in two ways, so none is made.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "h1.h"

#include <string.h>
#include <strings.h>


static const char token_chars[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char path_chars[] = "-._~!$&'()*+,;=:@/%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char host_chars[] = "-._~!$&'()*+;=:[]%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* ---- slices ---- */

static bool
is_of(Slice slice, const char *chars)
{
	for (size_t i = 0; i < slice.length; i++)
		if (slice.at[i] == '\0' || strchr(chars, slice.at[i]) == NULL)
			return false;
	return true;
}

static bool
is_text(Slice slice, const char *text)
{
	return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

static bool
is_text_in_any_case(Slice slice, const char *text)
{
	return slice.length == strlen(text) && strncasecmp(slice.at, text, slice.length) == 0;
}

static Slice
without_blanks(Slice slice)
{
	while (slice.length > 0 && (slice.at[0] == ' ' || slice.at[0] == '\t'))
	{
		slice.at++;
		slice.length--;
	}
	while (slice.length > 0 && (slice.at[slice.length - 1] == ' ' || slice.at[slice.length - 1] == '\t'))
		slice.length--;
	return slice;
}

/* ---- the first pass ---- */

static H1Outcome
refuse(const char **reason, const char *sentence)
{
	*reason = sentence;
	return H1_MALFORMED;
}

static H1Outcome
too_large(const char **reason)
{
	*reason = "URL and headers are at most 16 KiB.";
	return H1_TOO_LARGE;
}

/* Where the head ends, into *size; H1_READ where it does. */
static H1Outcome
find_end(const char *bytes, size_t length, size_t *seen, size_t *size, const char **reason)
{
	size_t		i = *seen;

	for (; i < length; i++)
	{
		unsigned char c = (unsigned char) bytes[i];

		if (i >= H1_HEAD_MAX)
			return too_large(reason);
		if (c == '\n')
		{
			if (i == 0 || bytes[i - 1] != '\r')
				return refuse(reason, "A line ends with CR and LF.");
			if (i == 1)
				return refuse(reason, "A request begins with its first line.");
			if (i >= 3 && bytes[i - 2] == '\n')
			{
				*size = i + 1;
				return H1_READ;
			}
		}
		else if (i > 0 && bytes[i - 1] == '\r')
			return refuse(reason, "A line ends with CR and LF.");
		else if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return refuse(reason, "A head has no control characters.");
	}
	*seen = i;
	return H1_MORE;
}

/* ---- the second pass ---- */

static bool
is_hex(char c)
{
	return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
}

/* Only what RFC 3986 allows, and each percent sign with its two digits. */
static bool
is_url_part(Slice part, bool query)
{
	for (size_t i = 0; i < part.length; i++)
	{
		char		c = part.at[i];

		if (c == '\0' || (strchr(path_chars, c) == NULL && !(query && c == '?')))
			return false;
		if (c == '%' && (part.length - i < 3 || !is_hex(part.at[i + 1]) || !is_hex(part.at[i + 2])))
			return false;
	}
	return true;
}

static H1Outcome
read_target(Slice target, H1Head *head, const char **reason)
{
	const char *mark;

	if (target.length == 0 || target.at[0] != '/')
		return refuse(reason, "The target of a request is a path.");
	mark = memchr(target.at, '?', target.length);
	head->path = target;
	if (mark)
	{
		head->path.length = (size_t) (mark - target.at);
		head->query = (Slice) {mark + 1, target.length - head->path.length - 1};
	}
	if (!is_url_part(head->path, false) || !is_url_part(head->query, true))
		return refuse(reason, "The path or the query has characters that must be percent-encoded.");
	return H1_READ;
}

static H1Outcome
read_version(Slice version, H1Head *head, const char **reason)
{
	if (is_text(version, "HTTP/1.1") || is_text(version, "HTTP/1.0"))
	{
		head->minor = version.at[7] - '0';
		return H1_READ;
	}
	if (version.length == 8 && memcmp(version.at, "HTTP/", 5) == 0 && version.at[5] >= '0' && version.at[5] <= '9' &&
		version.at[6] == '.' && version.at[7] >= '0' && version.at[7] <= '9')
	{
		*reason = "HTTP/1.1 is spoken here.";
		return H1_VERSION;
	}
	return refuse(reason, "A request's first line is method, path and HTTP/1.1.");
}

static H1Outcome
read_first_line(Slice line, H1Head *head, const char **reason)
{
	const char *first = memchr(line.at, ' ', line.length);
	const char *end = line.at + line.length;
	const char *second = first ? memchr(first + 1, ' ', (size_t) (end - first - 1)) : NULL;
	H1Outcome	outcome;

	if (second == NULL)
		return refuse(reason, "A request's first line is method, path and HTTP/1.1.");
	head->method = (Slice) {line.at, (size_t) (first - line.at)};
	if (head->method.length == 0 || !is_of(head->method, token_chars))
		return refuse(reason, "A method is a word.");
	outcome = read_version((Slice) {second + 1, (size_t) (end - second - 1)}, head, reason);
	if (outcome != H1_READ)
		return outcome;
	return read_target((Slice) {first + 1, (size_t) (second - first - 1)}, head, reason);
}

static H1Outcome
read_field(Slice line, H1Head *head, const char **reason)
{
	const char *colon = memchr(line.at, ':', line.length);
	H1Field    *field = &head->fields[head->field_count];

	if (head->field_count == H1_FIELDS_MAX)
	{
		*reason = "A request has at most 100 headers.";
		return H1_TOO_LARGE;
	}
	if (colon == NULL)
		return refuse(reason, "A header is a name, a colon and a value.");
	field->name = (Slice) {line.at, (size_t) (colon - line.at)};
	if (field->name.length == 0 || !is_of(field->name, token_chars))
		return refuse(reason, "A header's name is a word, directly before the colon.");
	field->value = without_blanks((Slice) {colon + 1, line.length - field->name.length - 1});
	head->field_count++;
	return H1_READ;
}

/* ---- what the fields mean for the framing ---- */

static H1Outcome
read_length(H1Head *head, const char **reason)
{
	bool		several;
	const H1Field *field = h1_field(head, "content-length", &several);

	if (field == NULL)
		return H1_READ;
	if (several || field->value.length == 0 || !is_of(field->value, "0123456789"))
		return refuse(reason, "Content-Length is no plain number, or given twice.");
	head->has_length = true;
	for (size_t i = 0; i < field->value.length; i++)
	{
		/* Whatever follows, it is larger than any body that is taken. */
		if (head->length >= INT64_MAX / 100)
			break;
		head->length = head->length * 10 + (field->value.at[i] - '0');
	}
	return H1_READ;
}

static H1Outcome
read_host(H1Head *head, const char **reason)
{
	bool		several;
	const H1Field *field = h1_field(head, "host", &several);

	if (several)
		return refuse(reason, "Host is given twice.");
	if (field == NULL && head->minor == 1)
		return refuse(reason, "Host is missing.");
	if (field == NULL)
		return H1_READ;
	if (!is_of(field->value, host_chars))
		return refuse(reason, "Host is no name.");
	head->host = field->value;
	return H1_READ;
}

static H1Outcome
read_framing(H1Head *head, const char **reason)
{
	H1Outcome	outcome;
	bool		several;

	if (h1_field(head, "transfer-encoding", &several))
	{
		*reason = "Send a Content-Length; Transfer-Encoding is not taken.";
		return H1_TRANSFER_ENCODING;
	}
	outcome = read_length(head, reason);
	if (outcome == H1_READ)
		outcome = read_host(head, reason);
	if (outcome != H1_READ)
		return outcome;
	head->keep_alive = head->minor == 1 ? !h1_list_has(head, "connection", "close") :
		h1_list_has(head, "connection", "keep-alive") && !h1_list_has(head, "connection", "close");
	head->upgrade = head->minor == 1 && h1_list_has(head, "connection", "upgrade");
	head->expect = head->minor == 1 && h1_list_has(head, "expect", "100-continue");
	return H1_READ;
}

H1Outcome
h1_read_head(const char *bytes, size_t length, size_t *seen, H1Head *head, const char **reason)
{
	size_t		size = 0;
	size_t		at = 0;
	H1Outcome	outcome = find_end(bytes, length, seen, &size, reason);

	if (outcome != H1_READ)
		return outcome;
	memset(head, 0, offsetof(H1Head, fields));
	head->size = size;
	/* The empty line is left out. */
	while (outcome == H1_READ && at < size - 2)
	{
		size_t		line = (size_t) ((const char *) memchr(bytes + at, '\r', size - at) - (bytes + at));

		outcome = at == 0 ? read_first_line((Slice) {bytes, line}, head, reason) :
			read_field((Slice) {bytes + at, line}, head, reason);
		at += line + 2;
	}
	return outcome == H1_READ ? read_framing(head, reason) : outcome;
}

/* ---- asking for fields ---- */

bool
h1_copy(Slice slice, char *out, size_t size)
{
	if (slice.length >= size)
		return false;
	memcpy(out, slice.at, slice.length);
	out[slice.length] = '\0';
	return true;
}

bool
h1_name_is(Slice name, const char *lower_case)
{
	return is_text_in_any_case(name, lower_case);
}

const H1Field *
h1_field(const H1Head *head, const char *lower_case, bool *several)
{
	const H1Field *found = NULL;

	*several = false;
	for (int i = 0; i < head->field_count; i++)
		if (h1_name_is(head->fields[i].name, lower_case))
		{
			*several |= found != NULL;
			found = found ? found : &head->fields[i];
		}
	return found;
}

bool
h1_list_next(H1List *list, Slice *element)
{
	const char *comma;
	size_t		length;

	while (list->rest.length == 0)
	{
		if (list->field == list->head->field_count)
			return false;
		if (h1_name_is(list->head->fields[list->field].name, list->lower_case))
			list->rest = list->head->fields[list->field].value;
		list->field++;
	}
	comma = memchr(list->rest.at, ',', list->rest.length);
	length = comma ? (size_t) (comma - list->rest.at) : list->rest.length;
	*element = without_blanks((Slice) {list->rest.at, length});
	length += comma != NULL;
	list->rest = (Slice) {list->rest.at + length, list->rest.length - length};
	return true;
}

bool
h1_list_has(const H1Head *head, const char *lower_case, const char *token)
{
	H1List		list = {head, lower_case, 0, {NULL, 0}};
	Slice		element;

	while (h1_list_next(&list, &element))
		if (is_text_in_any_case(element, token))
			return true;
	return false;
}
