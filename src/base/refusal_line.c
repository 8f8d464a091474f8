/*
 * base/refusal_line.c - a refused increment: what is kept of it, and its line in the server's log
 *
 * The message is one JSON object and nothing else, so that whoever reads jsonlog or csvlog parses it once more. Whatever a
 * client sent, it stays on one line and moves no terminal: control characters and those that turn or break lines are
 * written as \\u escapes.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "base/refusal_line.h"

static bool
is_unsafe(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || (c >= 0x200e && c <= 0x200f) ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static void
append_string(StringInfo line, const char *text)
{
	appendStringInfoChar(line, '"');
	while (*text)
	{
		int			length = pg_utf_mblen((const unsigned char *) text);
		pg_wchar	c = utf8_to_unicode((const unsigned char *) text);

		if (is_unsafe(c))
			appendStringInfo(line, "\\u%04x", (unsigned int) c);
		else
		{
			if (c == '"' || c == '\\')
				appendStringInfoChar(line, '\\');
			appendBinaryStringInfo(line, text, length);
		}
		text += length;
	}
	appendStringInfoChar(line, '"');
}

static void
append_member(StringInfo line, const char *name, const char *text)
{
	if (text[0] == '\0')
		return;
	appendStringInfo(line, ",\"%s\":", name);
	append_string(line, text);
}

void
refusal_line_say(const RefusalNote *note, int64 unsaid)
{
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfo(&line, "{\"event\":\"scoreboard.refusal\",\"code\":\"%s\"", refusal_name(note->code));
	append_member(&line, "userId", note->user_id);
	append_member(&line, "board", note->board);
	append_member(&line, "actionType", note->action_type);
	append_member(&line, "actionId", note->action_id);
	append_member(&line, "keyId", note->key_id);
	append_member(&line, "requestId", note->request_id);
	append_member(&line, "clientAddress", note->client_address);
	append_member(&line, "message", note->message);
	append_member(&line, "flag", note->flag);
	if (unsaid > 0)
		appendStringInfo(&line, ",\"unsaid\":" INT64_FORMAT, unsaid);
	appendStringInfoChar(&line, '}');
	ereport(LOG_SERVER_ONLY,
			(errmsg_internal("%s", line.data),
			 errhidestmt(true),
			 errhidecontext(true)));
	pfree(line.data);
}
