/*
 * crowd.c - thousands of stream clients in one process, as the benchmarks need them
 *
 *	crowd ws|sse PORT PATH CLIENTS SECONDS [ADDRESS [TOKENS]]
 *
 * Opens CLIENTS streams, prints "connected" and the microseconds that the last
 * thousand of them took each, waits for a line on standard input, lets two
 * seconds pass, counts the messages that arrive in SECONDS and prints how many
 * that is a second; then waits for the end of standard input. Anything that
 * goes wrong ends it with a sentence and status 1. ADDRESS is where they come
 * from (127.0.0.2, ...): one address has some 28,000 ports. The first streams
 * are signed in by the tokens of the file TOKENS, one a line.
 *
 * One thread and one epoll instance; a message is never copied: of a WebSocket
 * its length is read and its bytes are skipped, of an event stream the empty
 * lines are counted. So it costs the same whoever sends.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OPENING 256				/* connections under way at a time */
#define WARM_UP_US 2000000

typedef struct Stream
{
	int			fd;
	uint8_t		matched;		/* of the head's end, then of an empty line */
	bool		open;			/* the head has been read */
	uint8_t		header_length;	/* of a frame, as far as it has come */
	uint8_t		header[10];
	uint64_t	left;			/* bytes of the frame that are still to come */
} Stream;

static bool websocket;
static uint64_t messages;
static int	epoll;
static int	opened;
static struct sockaddr_in server = {.sin_family = AF_INET};
static struct sockaddr_in from = {.sin_family = AF_INET};
static FILE *tokens;			/* NULL: none */

static void __attribute__((noreturn))
fail(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void
begin(Stream *stream, const char *path)
{
	static char token[8192];
	static char request[9000];
	int			length;
	bool		signed_in = tokens && fscanf(tokens, "%8191s", token) == 1;

	stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The port is chosen by connect(), which takes those that an earlier crowd has just left. */
	if (stream->fd < 0 || setsockopt(stream->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int) {1}, sizeof(int)) != 0 ||
		bind(stream->fd, (struct sockaddr *) &from, sizeof(from)) != 0 ||
		connect(stream->fd, (struct sockaddr *) &server, sizeof(server)) != 0)
		fail("connecting");
	length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: bench\r\n%s%s%s%s\r\n", path,
					  signed_in ? "Authorization: Bearer " : "", signed_in ? token : "", signed_in ? "\r\n" : "", websocket ?
					  "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
					  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" : "Accept: text/event-stream\r\n");
	if (send(stream->fd, request, (size_t) length, MSG_NOSIGNAL) != length)
		fail("asking for a stream");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, stream->fd, &(struct epoll_event) {.events = EPOLLIN, .data.ptr = stream}) != 0)
		fail("epoll_ctl");
}

/* Skips the answer's head; how many bytes belonged to it. */
static size_t
read_head(Stream *stream, const unsigned char *bytes, size_t length)
{
	static const char end[] = "\r\n\r\n";

	for (size_t i = 0; i < length; i++)
	{
		stream->matched = bytes[i] == end[stream->matched] ? stream->matched + 1 : bytes[i] == '\r';
		if (stream->matched == 4)
		{
			stream->matched = 0;
			stream->open = true;
			opened++;
			return i + 1;
		}
	}
	return length;
}

/* A server's frames aren't masked: two, four or ten bytes, then the payload. */
static void
read_frames(Stream *stream, const unsigned char *bytes, size_t length)
{
	while (length > 0)
	{
		size_t		part = stream->left < length ? stream->left : length;
		size_t		whole;

		bytes += part;
		length -= part;
		stream->left -= part;
		if (length == 0)
			return;
		stream->header[stream->header_length++] = *bytes++;
		length--;
		if (stream->header_length < 2)
			continue;
		whole = stream->header[1] == 126 ? 4 : stream->header[1] == 127 ? 10 : 2;
		if (stream->header_length < whole)
			continue;
		for (size_t i = whole == 2 ? 1 : 2; i < whole; i++)
			stream->left = stream->left << 8 | stream->header[i];
		messages += (stream->header[0] & 15) == 1;
		stream->header_length = 0;
	}
}

/* Events end with an empty line; comments and "retry:" are not counted, since they have none or are there once. */
static void
read_events(Stream *stream, const unsigned char *bytes, size_t length)
{
	const unsigned char *end = bytes + length;

	if (stream->matched && bytes[0] == '\n')
		messages++;
	for (const unsigned char *p = bytes; (p = memchr(p, '\n', (size_t) (end - p))) != NULL && p + 1 < end; p++)
		messages += p[1] == '\n';
	stream->matched = end[-1] == '\n';
}

static void
take(Stream *stream)
{
	static unsigned char bytes[256 * 1024];
	ssize_t		n = recv(stream->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	size_t		head = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		fail(n == 0 ? "a stream was ended" : "receiving");
	if (!stream->open)
		head = read_head(stream, bytes, (size_t) n);
	if (head == (size_t) n)
		return;
	if (websocket)
		read_frames(stream, bytes + head, (size_t) n - head);
	else
		read_events(stream, bytes + head, (size_t) n - head);
}

/* Receives for at most so many microseconds. */
static void
receive(uint64_t us)
{
	struct epoll_event events[512];
	uint64_t	until = now_us() + us;

	do
	{
		int			n = epoll_wait(epoll, events, 512, us < 10000 ? 0 : 10);

		for (int i = 0; i < n; i++)
			take(events[i].data.ptr);
	} while (now_us() < until);
}

static uint64_t
open_all(Stream *streams, int count, const char *path)
{
	uint64_t	last_thousand = 0;
	int			last = count < 1000 ? count : 1000;

	for (int i = 0; i < count; i++)
	{
		if (i == count - last)
			last_thousand = now_us();
		begin(&streams[i], path);
		while (i + 1 - opened >= OPENING)
			receive(0);
	}
	while (opened < count)
		receive(1000);
	return (now_us() - last_thousand) / (uint64_t) last;
}

/* Receives until standard input has a line, or its end. */
static void
receive_until_told(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char		line[64];

	while (poll(&input, 1, 0) == 0)
		receive(20000);
	if (read(STDIN_FILENO, line, sizeof(line)) < 0)
		fail("standard input");
}

int
main(int argc, char **argv)
{
	struct rlimit files;
	Stream	   *streams;
	int			count;
	uint64_t	before;
	uint64_t	began;

	if (argc < 6 || argc > 8 || (argc > 6 && inet_pton(AF_INET, argv[6], &from.sin_addr) != 1))
	{
		fprintf(stderr, "crowd ws|sse PORT PATH CLIENTS SECONDS [ADDRESS [TOKENS]]\n");
		return 2;
	}
	if (argc > 7 && (tokens = fopen(argv[7], "r")) == NULL)
		fail(argv[7]);
	websocket = strcmp(argv[1], "ws") == 0;
	server.sin_port = htons((uint16_t) atoi(argv[2]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	count = atoi(argv[4]);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	streams = calloc((size_t) count, sizeof(*streams));
	if (streams == NULL || epoll < 0)
		fail("starting");

	printf("connected %llu\n", (unsigned long long) open_all(streams, count, argv[3]));
	fflush(stdout);
	receive_until_told();
	receive(WARM_UP_US);
	before = messages;
	began = now_us();
	receive((uint64_t) atoi(argv[5]) * 1000000);
	printf("%.1f\n", (double) (messages - before) * 1e6 / (double) (now_us() - began));
	fflush(stdout);
	receive_until_told();
	return 0;
}
