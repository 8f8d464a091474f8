/*
 * log.c - JSON lines on standard error
 *
 * Whoever reads the log may be slow or asleep, and a pipe, socket or terminal
 * that is full blocks its writer. To make it not block would change it for
 * everybody who shares it. So a thread of its own writes, and only that one
 * ever waits: the loop puts its lines into a ring. Where the ring is full,
 * lines are dropped and counted, and the next line that there is room for says
 * how many.
 *
 * The writer is woken once a turn of the loop, so that a busy bridge makes one
 * write instead of thousands, and at once for warnings and errors. It is the
 * only one that moves `tail`, the lock guards everything else of the ring; what
 * it writes from is not touched meanwhile. At the end it has a second for what
 * is left.
 *
 * Workers share where they write to, so each writes whole lines, PIPE_BUF bytes
 * at most, which no other process's can come in between. Their supervisor has no
 * thread, since it forks: it writes when it can.
 *
 * The library's own lines are limited, because some of them can be provoked by
 * anybody who can connect.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "log.h"

#define LINE_MAX_BYTES 4096		/* at most PIPE_BUF */
#define TEXT_END (LINE_MAX_BYTES - 16)	/* texts are cut here, so that a line can be closed */
#define FIELD_BYTES 32			/* a name's quotes and a number, or the beginning of a text */
#define LIBRARY_LINES_A_SECOND 10

#define RING_BYTES (256 * 1024)
#define END_SECONDS 1

static LogLevel lowest = LOG_INFO;

static char ring[RING_BYTES];
static size_t head;				/* bytes ever put in; the place is head % RING_BYTES */
static size_t tail;				/* bytes ever written out */
static int64_t dropped;			/* lines, not yet told */
static uint64_t ever_dropped;
static bool threaded;
static int	worker;				/* its number stands in each line; 0: there is only one */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t emptied;

static const char *const level_names[] = {"debug", "info", "warn", "error", "info"};

void
log_set_level_by_name(const char *name)
{
	for (int level = LOG_DEBUG; level <= LOG_ERROR; level++)
		if (strcmp(name, level_names[level]) == 0)
			lowest = (LogLevel) level;
}

bool
log_wants(LogLevel level)
{
	return level >= lowest;
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

/* How many bytes the UTF-8 character there has; 0 where it is none. */
static size_t
character_size(const unsigned char *text)
{
	unsigned char first = text[0];
	size_t		size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < size; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	/* Written longer than need be, half of a surrogate pair, beyond the last. */
	if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90) || (first == 0xed && text[1] > 0x9f) ||
		(first == 0xf4 && text[1] > 0x8f))
		return 0;
	return size;
}

static void
put_escape(char *line, size_t *at, unsigned code)
{
	char		escape[8];

	snprintf(escape, sizeof(escape), "\\u%04x", code & 0xffff);
	for (const char *p = escape; *p; p++)
		put(line, at, *p);
}

/* Whatever the bytes are, what is written is a text of JSON in UTF-8. */
static void
put_text(char *line, size_t *at, const char *text)
{
	if (log_has_token(text, strlen(text)))
		text = "[token]";
	put(line, at, '"');
	while (*text && *at < TEXT_END)
	{
		unsigned char c = (unsigned char) *text;
		size_t		size = character_size((const unsigned char *) text);

		if (c < 0x20 || c == 0x7f || size == 0)
		{
			put_escape(line, at, size == 0 ? 0xfffd : c);
			text++;
			continue;
		}
		if (c == '"' || c == '\\')
			put(line, at, '\\');
		for (size_t i = 0; i < size; i++)
			put(line, at, *text++);
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

static void
put_field(char *line, size_t *at, const LogField *field)
{
	char		number[32];

	put_name(line, at, field->name);
	if (field->kind == LOG_IS_TEXT)
	{
		put_text(line, at, field->text ? field->text : "");
		return;
	}
	if (field->kind == LOG_IS_TIME)
		snprintf(number, sizeof(number), "%lld.%03lld", (long long) field->number / 1000, (long long) field->number % 1000);
	else
		snprintf(number, sizeof(number), "%lld", (long long) field->number);
	for (const char *p = number; *p; p++)
		put(line, at, *p);
}

/* A whole line; its length. What a long text leaves no room for is left out. */
static size_t
make_line(char *line, LogLevel level, const char *msg, const LogField *fields, size_t count)
{
	size_t		at = 0;

	put(line, &at, '{');
	put_time(line, &at);
	put_name(line, &at, "level");
	put_text(line, &at, level_names[level]);
	put_name(line, &at, "msg");
	put_text(line, &at, msg);
	if (worker)
	{
		const LogField field = LOG_NUMBER("worker", worker);

		put_field(line, &at, &field);
	}
	for (size_t i = 0; i < count; i++)
		if (fields[i].name && at + strlen(fields[i].name) + FIELD_BYTES <= TEXT_END)
			put_field(line, &at, &fields[i]);
	line[at++] = '}';
	line[at++] = '\n';
	return at;
}

/* ---- the ring ---- */

/* Under the lock. Whether there was room. */
static bool
ring_put(const char *line, size_t length)
{
	size_t		at = head % RING_BYTES;
	size_t		first = length < RING_BYTES - at ? length : RING_BYTES - at;

	if (RING_BYTES - (head - tail) < length)
		return false;
	memcpy(ring + at, line, first);
	memcpy(ring, line + first, length - first);
	head += length;
	return true;
}

/* Under the lock: what was dropped is said before anything newer. */
static bool
ring_confess(void)
{
	const LogField fields[] = {LOG_NUMBER("count", dropped), LOG_TEXT("advice", "whoever reads standard error is too slow")};
	char		line[LINE_MAX_BYTES];
	size_t		length;

	if (dropped == 0)
		return true;
	length = make_line(line, LOG_WARN, "log lines dropped", fields, 2);
	if (!ring_put(line, length))
		return false;
	dropped = 0;
	return true;
}

/* Writes a piece, however long that takes. False: there is nobody any more. */
static bool
write_piece(const char *piece, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = write(STDERR_FILENO, piece, length);

		if (n >= 0)
		{
			piece += n;
			length -= (size_t) n;
		}
		else if (errno == EAGAIN)	/* somebody who shares it has made it so */
			poll(&(struct pollfd) {STDERR_FILENO, POLLOUT, 0}, 1, 1000);
		else if (errno != EINTR)
			return false;
	}
	return true;
}

/* Whole lines of what is in the ring, as many as a pipe takes in one piece. */
static size_t
copy_lines(char piece[PIPE_BUF])
{
	size_t		length = 0;

	for (size_t i = 0; i < PIPE_BUF && tail + i < head; i++)
	{
		piece[i] = ring[(tail + i) % RING_BYTES];
		if (piece[i] == '\n')
			length = i + 1;
	}
	return length;
}

/* With the lock, which is let go meanwhile: writes out what is there, in one piece where nobody else writes there. */
static void
write_some(void)
{
	size_t		at = tail % RING_BYTES;
	size_t		length = head - tail < RING_BYTES - at ? head - tail : RING_BYTES - at;
	bool		shared = worker || !threaded;
	char		lines[PIPE_BUF];

	if (shared)
		length = copy_lines(lines);
	pthread_mutex_unlock(&lock);
	write_piece(shared ? lines : ring + at, length);
	pthread_mutex_lock(&lock);
	tail += length;
	ring_confess();
}

static void *
writer(void *nothing)
{
	pthread_mutex_lock(&lock);
	for (;;)
	{
		while (head == tail)
			pthread_cond_wait(&filled, &lock);
		while (head != tail)
			write_some();
		pthread_cond_broadcast(&emptied);
	}
	return nothing;
}

void
log_start(void)
{
	pthread_condattr_t clock;
	pthread_t	thread;
	sigset_t	all;
	sigset_t	before;

	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&emptied, &clock);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	threaded = pthread_create(&thread, NULL, writer, NULL) == 0;
	if (threaded)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

pid_t
log_fork(int number)
{
	pid_t		pid = fork();

	if (pid != 0)
		return pid;
	worker = number;
	head = tail = 0;
	dropped = 0;
	ever_dropped = 0;
	log_start();
	return 0;
}

/*
 * Without a thread (of a supervisor, which forks, or since there was none to be
 * had) the loop writes itself, as much as is taken.
 */
static void
write_unthreaded(int wait_ms)
{
	while (!threaded && head != tail && poll(&(struct pollfd) {STDERR_FILENO, POLLOUT, 0}, 1, wait_ms) > 0)
		write_some();
}

void
log_flush(void)
{
	pthread_mutex_lock(&lock);
	write_unthreaded(0);
	if (head != tail)
		pthread_cond_signal(&filled);
	pthread_mutex_unlock(&lock);
}

void
log_end(void)
{
	struct timespec until;

	log_flush();
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += END_SECONDS;
	pthread_mutex_lock(&lock);
	write_unthreaded(END_SECONDS * 1000);
	while (threaded && head != tail && pthread_cond_timedwait(&emptied, &lock, &until) == 0)
		;
	pthread_mutex_unlock(&lock);
}

void
log_write(LogLevel level, const char *msg, const LogField *fields, size_t count)
{
	char		line[LINE_MAX_BYTES];
	size_t		length;

	if (level < lowest)
		return;
	length = make_line(line, level, msg, fields, count);
	pthread_mutex_lock(&lock);
	if (!ring_confess() || !ring_put(line, length))
	{
		dropped++;
		ever_dropped++;
	}
	pthread_mutex_unlock(&lock);
	if (level >= LOG_WARN)
		log_flush();
}

uint64_t
log_dropped(void)
{
	uint64_t	count;

	pthread_mutex_lock(&lock);
	count = ever_dropped;
	pthread_mutex_unlock(&lock);
	return count;
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
			log_warn("library messages left out", LOG_NUMBER("count", left_out), LOG_TEXT("advice", "more of the kind that stands before"));
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
