/*
 * bare.c - the physical limit of a fan-out: an epoll loop that sends ready bytes
 *
 *	bare PORT FILE [ROUNDS A SECOND]
 *
 * Answers any request with a head (101 where it asks for an upgrade, else that
 * of an event stream) and then sends FILE's bytes, as a WebSocket text frame or
 * as an event, to all clients, one round after the other, without end, or so
 * many a second: then clients wait for each message, as they do in life. It
 * checks nothing, and keeps nothing of a client but its descriptor: who can't
 * take a whole message is skipped in that round.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#define CLIENTS_MAX 65536

static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static const char streaming[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

static int	clients[CLIENTS_MAX];
static int	count;
static char message[2][65536];	/* as an event, as a frame */
static size_t length[2];
static bool websocket;

static void
make_messages(const char *path)
{
	static char text[60000];
	FILE	   *file = fopen(path, "r");
	size_t		n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	char	   *out = message[1];

	if (n < 126)
	{
		fprintf(stderr, "bare: no message of some size in %s\n", path);
		exit(1);
	}
	fclose(file);
	length[0] = (size_t) sprintf(message[0], "event: leaderboard.update\ndata: %s\nid: global:1\n\n", text);
	*out++ = (char) 0x81;
	*out++ = 126;
	*out++ = (char) (n >> 8);
	*out++ = (char) n;
	memcpy(out, text, n);
	length[1] = n + 4;
}

static void
forget(int fd)
{
	for (int i = 0; i < count; i++)
		if (clients[i] == fd)
			clients[i] = clients[--count];
	close(fd);
}

static void
serve(int fd)
{
	char		request[4096];
	ssize_t		n = recv(fd, request, sizeof(request) - 1, MSG_DONTWAIT);

	if (n <= 0)
	{
		forget(fd);
		return;
	}
	request[n] = '\0';
	websocket = strstr(request, "Upgrade: websocket") != NULL;
	if (send(fd, websocket ? upgraded : streaming, websocket ? sizeof(upgraded) - 1 : sizeof(streaming) - 1, MSG_NOSIGNAL) > 0 &&
		count < CLIENTS_MAX)
		clients[count++] = fd;
}

static int
listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int			on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 4096) != 0)
	{
		perror("bare: listening");
		exit(1);
	}
	return fd;
}

static long
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
main(int argc, char **argv)
{
	long		pause = argc == 4 ? 1000 / atol(argv[3]) : 0;
	long		due = 0;
	struct rlimit files;
	struct epoll_event events[512];
	int			epoll = epoll_create1(0);
	int			listener;

	if (argc != 3 && argc != 4)
		return 2;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	make_messages(argv[2]);
	listener = listen_on(atoi(argv[1]));
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event) {.events = EPOLLIN, .data.fd = listener});
	for (;;)
	{
		long		wait = due - now_ms();
		int			n = epoll_wait(epoll, events, 512, count == 0 ? -1 : wait > 0 ? (int) wait : 0);

		for (int i = 0; i < n; i++)
		{
			int			fd = events[i].data.fd;

			if (fd != listener)
				serve(fd);
			else
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event) {.events = EPOLLIN, .data.fd = fd});
		}
		if (now_ms() < due)
			continue;
		due = now_ms() + pause;
		/* In the same steps as a server that has other things to do: a round, then a look at the sockets. */
		for (int i = 0; i < count; i++)
			if (send(clients[i], message[websocket], length[websocket], MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
				forget(clients[i--]);
	}
}
