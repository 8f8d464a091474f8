/*
 * log.c - JSON lines on standard error
 *
 * Lines are collected in one buffer and written once a turn of the event loop,
 * so that a busy bridge makes one write instead of thousands; warnings and
 * errors are written at once, since the process may be about to die. The
 * library's own lines are limited, because some of them can be provoked by
 * anybody who can connect.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "log.h"

#define LINE_MAX_BYTES 4096
#define LIBRARY_LINES_A_SECOND 10

static LogLevel lowest = LOG_INFO;
static char buffer[64 * 1024];
static size_t used;

static const char *const level_names[] = {"debug", "info", "warn", "error", "info"};

void
log_set_level_by_name(const char *name)
{
	for (int level = LOG_DEBUG; level <= LOG_ERROR; level++)
		if (strcmp(name, level_names[level]) == 0)
			lowest = (LogLevel) level;
}

void
log_flush(void)
{
	size_t		done = 0;

	while (done < used)
	{
		ssize_t		n = write(STDERR_FILENO, buffer + done, used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;				/* nobody reads: a log must not stop the service */
		done += (size_t) n;
	}
	used = 0;
}

static bool
is_token_byte(char c)
{
	return isalnum((unsigned char) c) || c == '-' || c == '_';
}

bool
log_has_token(const char *text, size_t length)
{
	for (size_t i = 0; i + 3 <= length; i++)
	{
		size_t		at = i + 3;
		int			dots = 0;

		if (memcmp(text + i, "eyJ", 3) != 0 || (i > 0 && is_token_byte(text[i - 1])))
			continue;
		while (at < length && (is_token_byte(text[at]) || text[at] == '.'))
			dots += text[at++] == '.';
		if (dots >= 2)
			return true;
		i = at - 1;
	}
	return false;
}

/* A byte into the line; the last few are kept for the end of the line. */
static void
put(char *line, size_t *at, char c)
{
	if (*at < LINE_MAX_BYTES - 8)
		line[(*at)++] = c;
}

static void
put_text(char *line, size_t *at, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	if (log_has_token(text, strlen(text)))
		text = "[token]";
	put(line, at, '"');
	for (; *text && *at < LINE_MAX_BYTES - 16; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c == '"' || c == '\\')
			put(line, at, '\\');
		if (c >= 0x20 && c != 0x7f)
		{
			put(line, at, (char) c);
			continue;
		}
		for (const char *p = "\\u00"; *p; p++)
			put(line, at, *p);
		put(line, at, hex[c >> 4]);
		put(line, at, hex[c & 15]);
	}
	put(line, at, '"');
}

static void
put_name(char *line, size_t *at, const char *name)
{
	if (*at > 1)
		put(line, at, ',');
	put_text(line, at, name);
	put(line, at, ':');
}

static void
put_time(char *line, size_t *at)
{
	struct timespec now;
	struct tm	tm;
	char		text[40];
	size_t		n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03dZ", (int) (now.tv_nsec / 1000000));
	put_name(line, at, "time");
	put_text(line, at, text);
}

void
log_write(LogLevel level, const char *msg, const LogField *fields, size_t count)
{
	char		line[LINE_MAX_BYTES];
	size_t		at = 0;

	if (level < lowest)
		return;
	put(line, &at, '{');
	put_time(line, &at);
	put_name(line, &at, "level");
	put_text(line, &at, level_names[level]);
	put_name(line, &at, "msg");
	put_text(line, &at, msg);
	for (size_t i = 0; i < count; i++)
	{
		char		number[24];

		if (fields[i].name == NULL)
			continue;
		put_name(line, &at, fields[i].name);
		if (fields[i].is_text)
		{
			put_text(line, &at, fields[i].text ? fields[i].text : "");
			continue;
		}
		snprintf(number, sizeof(number), "%lld", (long long) fields[i].number);
		for (const char *p = number; *p; p++)
			put(line, &at, *p);
	}
	line[at++] = '}';
	line[at++] = '\n';

	if (used + at > sizeof(buffer))
		log_flush();
	memcpy(buffer + used, line, at);
	used += at;
	if (level >= LOG_WARN)
		log_flush();
}

void
log_library(int level, const char *line)
{
	static time_t second;
	static int	lines;
	static int	left_out;
	time_t		now = time(NULL);
	char		text[512];
	size_t		length = strcspn(line, "\n");

	if (now != second)
	{
		if (left_out)
			log_warn("library messages left out", LOG_NUMBER("count", left_out));
		second = now;
		lines = left_out = 0;
	}
	if (++lines > LIBRARY_LINES_A_SECOND)
	{
		left_out++;
		return;
	}
	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, line, length);
	text[length] = '\0';
	log_line(level == LLL_ERR ? LOG_WARN : LOG_DEBUG, "library", LOG_TEXT("text", text));
}
