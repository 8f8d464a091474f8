/*
 * log_lines.c - the bridge's log: every line is JSON, and each is written or counted
 *
 * Standard error is a pipe that nobody reads until a test does, so that the
 * log's own room is filled at will. log_end() waits for what is left, so what
 * was logged before it is in the pipe after it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* pipe2 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <libwebsockets.h>

#include "log.h"
#include "tap.h"

#define LINE_MAX_BYTES 4096
#define PIECE 65536
#define MANY 9000				/* more than the pipe and the ring hold */

static int	reading;
static char *text;				/* what has been read and is no whole line yet */
static size_t length;

/* A pipe of its own for standard error. The log's side of it blocks, unless it shall not. */
static void
new_pipe(bool blocks)
{
	int			ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
		abort();
	close(ends[1]);
	if (reading)
		close(reading);
	reading = ends[0];
	fcntl(reading, F_SETFL, O_NONBLOCK);
	if (!blocks)
		fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
	length = 0;
}

/* Reads what has come. */
static void
take(void)
{
	ssize_t		n;

	do
	{
		text = realloc(text, length + PIECE);
		if (text == NULL)
			abort();
		n = read(reading, text + length, PIECE);
		if (n > 0)
			length += (size_t) n;
	} while (n > 0);
}

/* The next line, as an object; NULL: there is none. One that is not JSON, or too long, is an empty object. */
static json_t *
next_line(void)
{
	char	   *end = length ? memchr(text, '\n', length) : NULL;
	size_t		size;
	json_t	   *line;

	if (end == NULL)
		return NULL;
	size = (size_t) (end - text) + 1;
	line = size <= LINE_MAX_BYTES ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
	length -= size;
	memmove(text, end + 1, length);
	return line ? line : json_object();
}

/* The one line that is there; an empty object where there is none or another. */
static json_t *
only_line(void)
{
	json_t	   *line;

	log_end();
	take();
	line = next_line();
	if (line && length > 0)
		json_object_clear(line);
	return line ? line : json_object();
}

static bool
says(const json_t *line, const char *name, const char *wanted)
{
	const char *value = json_string_value(json_object_get(line, name));

	return value && strcmp(value, wanted) == 0;
}

/* ---- lines ---- */

static void
test_texts(void)
{
	static const char *const texts[] = {"", "x", "\"", "\\", "\\\"", "\"}\n{\"", "\b\f\r\t\x01\x1f\x7f", "\\u0041", "/", "%s%n",
	"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x80\xa8", "eyJ.x", "keyJa.b.c"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		json_t	   *line;

		log_info(texts[i], LOG_TEXT("text", texts[i]), LOG_NUMBER("number", -1 - (int64_t) i));
		line = only_line();
		tap_ok(says(line, "msg", texts[i]) && says(line, "text", texts[i]) && says(line, "level", "info") &&
			   json_integer_value(json_object_get(line, "number")) == -1 - (int64_t) i && json_object_size(line) == 5,
			   "a text arrives as it is");
		json_decref(line);
	}
}

static void
test_bytes(void)
{
	static const char *const wrong[] = {"a\xff" "b", "a\xc3", "\x80", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
	"\xe0\x80\x80", "\xf0\x80\x80\x80", "\xe2\x82\xe2\x82\xac"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		json_t	   *line;

		log_info("bytes", LOG_TEXT("text", wrong[i]));
		line = only_line();
		tap_ok(says(line, "msg", "bytes") && strstr(json_string_value(json_object_get(line, "text")), "\xef\xbf\xbd"),
			   "what is not UTF-8 is replaced");
		json_decref(line);
	}
}

/* Of every length around the longest line, so that it is cut at every place of what is repeated. */
static void
test_long(const char *piece, const char *what)
{
	size_t		size = strlen(piece);
	char	   *long_text = calloc(1, 5000 + size);
	int			bad = 0;

	for (size_t n = 3800; n < 5000; n++)
	{
		json_t	   *line;
		const char *begins;

		/* Whole pieces, behind so many letters that their ends come to lie anywhere. */
		memset(long_text, 'x', n % 16);
		long_text[n % 16] = '\0';
		for (size_t at = n % 16; at + size <= n; at += size)
			strcpy(long_text + at, piece);
		log_info("long", LOG_TEXT("text", long_text), LOG_NUMBER("number", n), LOG_TEXT("more", "more"));
		line = only_line();
		begins = json_string_value(json_object_get(line, "text"));
		/* What follows is there as a whole or not at all. */
		for (void *it = json_object_iter(line); it; it = json_object_iter_next(line, it))
			bad += strstr(" time level msg text number more ", json_object_iter_key(it)) == NULL;
		bad += !says(line, "msg", "long") || begins == NULL || strncmp(long_text, begins, strlen(begins)) != 0 || strlen(begins) < 600 ||
			(json_object_get(line, "number") && json_integer_value(json_object_get(line, "number")) != (json_int_t) n) ||
			(json_object_get(line, "more") && !says(line, "more", "more"));
		json_decref(line);
	}
	free(long_text);
	tap_ok(bad == 0, what);
}

static void
test_token(void)
{
	json_t	   *line;

	log_info("hidden", LOG_TEXT("text", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"), LOG_TEXT("none", NULL));
	line = only_line();
	tap_ok(says(line, "text", "[token]") && says(line, "none", ""), "what looks like a token is not written, no text is an empty one");
	json_decref(line);
}

static void
test_levels(void)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};

	for (int least = 0; least < 4; least++)
	{
		bool		good = true;
		json_t	   *line;

		log_set_level_by_name(names[least]);
		for (int level = 0; level < 4; level++)
		{
			log_line((LogLevel) level, "level");
			line = only_line();
			good = good && says(line, "level", names[level]) == (level >= least);
			json_decref(line);
		}
		log_always("always");
		line = only_line();
		good = good && says(line, "msg", "always") && says(line, "level", "info");
		json_decref(line);
		tap_ok(good, names[least]);
	}
	log_set_level_by_name("info");
}

/* ---- the ring ---- */

static void
number_from(int from, int to)
{
	static char filler[3000];

	memset(filler, 'x', sizeof(filler) - 1);
	/* Some long ones: where none of these fits any more a short one still does. */
	for (int i = from; i < to; i++)
		log_info("many", LOG_NUMBER("number", i), LOG_TEXT(i % 4 ? NULL : "text", filler));
	log_flush();
}

/* Takes lines that are numbered from *next on; those that are missing must be told of right before. */
static bool
all_or_counted(int *next, int *dropped)
{
	json_t	   *line;
	bool		good = true;

	take();
	while ((line = next_line()) != NULL)
	{
		int			count = (int) json_integer_value(json_object_get(line, "count"));

		if (says(line, "msg", "log lines dropped") && says(line, "level", "warn"))
		{
			good = good && count > 0;
			*next += count;
			*dropped += count;
		}
		else
			good = good && json_integer_value(json_object_get(line, "number")) == (*next)++;
		json_decref(line);
	}
	return good;
}

static void
test_ring(bool blocks)
{
	int			next = 0;
	int			dropped = 0;
	int			said = MANY;
	bool		good = true;
	time_t		until = time(NULL) + 60;

	new_pipe(blocks);
	number_from(0, MANY);
	while (good && next < MANY && time(NULL) < until)
	{
		poll(&(struct pollfd) {reading, POLLIN, 0}, 1, 1000);
		good = all_or_counted(&next, &dropped);
	}
	tap_ok(good && next == MANY && dropped > 1000 && dropped < MANY, "nobody reads: what is lost is counted, right where it is missing");

	dropped = 0;
	for (int i = 0; good && i < 40; i++)
	{
		number_from(said, said + 60);
		said += 60;
		log_end();
		good = all_or_counted(&next, &dropped) && next == said && dropped == 0;
	}
	tap_ok(good, "it is read: nothing is lost, however often the ring's end is passed");
}

/* ---- the library's lines ---- */

static void
test_library(void)
{
	time_t		until = time(NULL) + 60;
	int			calls;
	int			said = 0;
	int			left_out = 0;
	int			most = 0;
	json_t	   *line;

	for (calls = 0; calls < 1000; calls++)
		log_library(LLL_ERR, "from the library\n");
	/* In a later second they are told again, and how many were not. */
	for (; left_out == 0 && time(NULL) < until; calls++)
	{
		log_library(LLL_ERR, "from the library\n");
		log_end();
		take();
		while ((line = next_line()) != NULL)
		{
			said += says(line, "msg", "library") && says(line, "text", "from the library");
			left_out += (int) json_integer_value(json_object_get(line, "count"));
			json_decref(line);
		}
		if (calls == 1000)
			most = said;
		poll(NULL, 0, 50);
	}
	tap_ok(most >= 10 && most <= 20, "the library's lines are few a second");
	tap_ok(left_out > 0 && said + left_out == calls, "those that are left out are counted");
}

int
main(void)
{
	int			errors = dup(STDERR_FILENO);

	log_start();
	new_pipe(true);
	test_texts();
	test_bytes();
	test_long("x", "a long text is cut");
	test_long("\xc3\xa9", "a long text is cut between its characters");
	test_long("\xf0\x9f\x98\x80", "so is one of longer characters");
	test_long("\n\"\\", "so is one with escapes");
	test_token();
	test_levels();
	test_ring(true);
	test_ring(false);
	test_library();
	/* The sanitizers' word comes last. */
	dup2(errors, STDERR_FILENO);
	close(errors);
	close(reading);
	free(text);
	return tap_done();
}
