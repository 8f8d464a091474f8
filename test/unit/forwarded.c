/*
 * forwarded.c - addresses as proxies write them, whom we trust, and whom a request is from
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "addresses.h"
#include "tap.h"
#include "text_hash.h"

/* Reads it where the memory ends with it, so that a byte too many is seen. */
static bool
read_exactly(const char *text, struct in6_addr *address)
{
	size_t		length = strlen(text);
	char	   *copy = malloc(length + 1);
	bool		good;

	memcpy(copy + 1, text, length);
	good = address_read((Slice) {copy + 1, length}, address);
	free(copy);
	return good;
}

/* written: as it comes back; NULL: it is none. */
static void
check_address(const char *text, const char *written)
{
	struct in6_addr address;
	char		out[INET6_ADDRSTRLEN] = "";
	char		name[160];
	bool		good = read_exactly(text, &address);

	if (good)
		address_write(&address, out);
	snprintf(name, sizeof(name), "\"%.100s\" is %s", text, written ? written : "no address");
	tap_ok(good == (written != NULL) && strcmp(out, written ? written : "") == 0, name);
}

static void
check_addresses(void)
{
	check_address("192.0.2.1", "192.0.2.1");
	check_address("192.0.2.1:8080", "192.0.2.1");
	check_address("255.255.255.255:65535", "255.255.255.255");
	check_address("2001:DB8:0::1", "2001:db8::1");
	check_address("[2001:db8::1]", "2001:db8::1");
	check_address("[2001:db8::1]:443", "2001:db8::1");
	check_address("::1", "::1");
	check_address("::ffff:192.0.2.1", "192.0.2.1");
	check_address("[::ffff:192.0.2.1]:1", "192.0.2.1");
	check_address("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	check_address("0.0.0.0", "0.0.0.0");

	/* The mark of what is unknown can't be said. */
	check_address("::", NULL);
	check_address("[::]:1", NULL);
	check_address("0:0:0:0:0:0:0:0", NULL);
	check_address("", NULL);
	check_address(" ", NULL);
	check_address(" 192.0.2.1", NULL);
	check_address("192.0.2.1 ", NULL);
	check_address("192.0.2", NULL);
	check_address("192.0.2.256", NULL);
	check_address("192.0.2.1.1", NULL);
	check_address("0x7f.0.0.1", NULL);
	check_address("3221225985", NULL);
	check_address("192.0.2.1:", NULL);
	check_address("192.0.2.1:http", NULL);
	check_address("192.0.2.1:123456", NULL);
	check_address("192.0.2.1/32", NULL);
	check_address("[192.0.2.1]", NULL);
	check_address("[192.0.2.1]:80", NULL);
	check_address("[", NULL);
	check_address("[]", NULL);
	check_address("[::1", NULL);
	check_address("[::1]80", NULL);
	check_address("[::1]:", NULL);
	check_address("[::1]]", NULL);
	check_address("]::1[", NULL);
	check_address(":", NULL);
	check_address(":80", NULL);
	check_address("2001:db8::1::2", NULL);
	check_address("2001:db8::12345", NULL);
	check_address("fe80::1%eth0", NULL);
	check_address("1:2:3:4:5:6:7:8:9", NULL);
	check_address("unknown", NULL);
	check_address("_hidden", NULL);
	check_address("\"192.0.2.1\"", NULL);
	check_address("for=192.0.2.1", NULL);
	check_address("11111111111111111111111111111111111111111111111111111111111111111111", NULL);
}

/* ---- whom we trust ---- */

/* trusted and others: addresses with blanks between them; - is the peer of a unix socket. */
static void
check_trust(const char *list, const char *trusted, const char *others)
{
	Proxies    *proxies = proxies_new(list);
	char		text[256];
	char		name[512];

	for (int side = 0; side < 2; side++)
	{
		snprintf(text, sizeof(text), "%s", side == 0 ? trusted : others);
		for (char *one = strtok(text, " "); one; one = strtok(NULL, " "))
		{
			struct in6_addr address = {0};
			bool		known = strcmp(one, "-") == 0 || read_exactly(one, &address);

			snprintf(name, sizeof(name), "\"%.200s\" %s %.100s", list, side == 0 ? "has" : "hasn't", one);
			tap_ok(known && proxies_have(proxies, &address) == (side == 0), name);
		}
	}
	free(proxies);
}

static void
check_list(const char *list, bool good)
{
	char		reason[512] = "";
	char		name[160];

	snprintf(name, sizeof(name), "\"%.100s\" is %s list", list, good ? "a" : "no");
	tap_ok(proxies_check(list, reason, sizeof(reason)) == good && (reason[0] == '\0') == good, name);
}

static void
check_lists(void)
{
	static const char *const bad[] = {",", "10.0.0.1,", ",10.0.0.1", "10.0.0.1,,10.0.0.2", "10.0.0.1 ,10.0.0.2", "10.0.0.1, 10.0.0.2", "10.0.0.0/", "10.0.0.0/33",
		"10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/x", "10.0.0.1/8", "10.128.0.0/8", "fd00::1/64", "fd00::/129", "fd00::/1000000", "proxy.example", "unix:/path", "UNIX", "unix/8",
		"127.0.0.1:80", "[::1]", "*", "localhost", "10.0.0.0/255.0.0.0"};

	check_list("", true);
	check_list("unix", true);
	check_list("10.0.0.1,unix,fd00::/8,0.0.0.0/0,::/0,192.0.2.128/25,::1/128,::ffff:10.0.0.0/104", true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_list(bad[i], false);

	check_trust("", "", "- 127.0.0.1 ::1");
	check_trust("unix", "-", "127.0.0.1 ::1");
	check_trust("10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "- 10.0.0.0 10.0.0.2 ::a00:1");
	check_trust("10.0.0.0/8,192.0.2.128/25", "10.0.0.0 10.255.255.255 192.0.2.128 192.0.2.255", "9.255.255.255 11.0.0.0 192.0.2.127 192.0.3.128");
	check_trust("172.16.0.0/12", "172.16.0.1 172.31.255.255", "172.15.255.255 172.32.0.0");
	check_trust("0.0.0.0/0", "0.0.0.0 255.255.255.255", "- ::1 2001:db8::1");
	check_trust("::/0", "::1 2001:db8::1 ffff::1", "- 127.0.0.1");
	check_trust("2001:db8::/33", "2001:db8::1 2001:db8:7fff::1", "2001:db8:8000::1 2001:db9::1");
	check_trust("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3");
}

/* ---- whom a request is from ---- */

#define TRUSTED "10.0.0.0/8,fd00::/8,unix"

/* headers: whole lines; client: whose request it is then, where the peer is 10.0.0.1. */
static void
check_client(const char *headers, const char *client)
{
	static H1Head head;
	Proxies    *proxies = proxies_new(TRUSTED);
	struct in6_addr peer;
	struct in6_addr found;
	char		text[4096];
	char		out[INET6_ADDRSTRLEN];
	char		name[512];
	const char *reason;
	size_t		seen = 0;
	int			length = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);

	read_exactly("10.0.0.1", &peer);
	if (h1_read_head(text, (size_t) length, &seen, &head, &reason) != H1_READ)
		abort();
	found = proxies_client(proxies, &peer, &head);
	address_write(&found, out);
	snprintf(name, sizeof(name), "%.*s: %s", (int) strcspn(headers, "\r"), headers, client);
	tap_ok(strcmp(out, client) == 0, name);
	free(proxies);
}

#define XFF(value) "X-Forwarded-For: " value "\r\n"

static void
check_clients(void)
{
	check_client("", "10.0.0.1");
	check_client("Forwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Fo: 192.0.2.1\r\n", "10.0.0.1");
	check_client(XFF("192.0.2.1"), "192.0.2.1");
	check_client("x-forwarded-FOR:192.0.2.1\r\n", "192.0.2.1");
	check_client(XFF("203.0.113.9, 192.0.2.1"), "192.0.2.1");
	check_client(XFF("203.0.113.9, 192.0.2.1, 10.3.3.3,fd00::1"), "192.0.2.1");
	check_client(XFF("203.0.113.9,10.9.9.9, 192.0.2.1 ,\t10.3.3.3"), "192.0.2.1");
	check_client(XFF("192.0.2.1:4711, [fd00::1]:80"), "192.0.2.1");
	check_client(XFF("[2001:db8::1]:4711"), "2001:db8::1");

	/* Several are one list. */
	check_client(XFF("203.0.113.9") XFF("192.0.2.1"), "192.0.2.1");
	check_client(XFF("192.0.2.1") "Accept: 203.0.113.9\r\n" XFF("10.0.0.2") XFF("10.0.0.3"), "192.0.2.1");
	check_client(XFF("203.0.113.9, 192.0.2.1") XFF(""), "192.0.2.1");
	check_client(XFF("192.0.2.1,,") XFF(" , ") XFF(",10.0.0.2,"), "192.0.2.1");

	/* All of them ours: the first one is where it began. */
	check_client(XFF("10.0.0.9"), "10.0.0.9");
	check_client(XFF("fd00::5, 10.0.0.9"), "fd00::5");
	check_client(XFF(""), "10.0.0.1");
	check_client(XFF(" , ,"), "10.0.0.1");

	/* What can't be read tells nothing, where it matters. */
	check_client(XFF("unknown"), "10.0.0.1");
	check_client(XFF("192.0.2.1, unknown"), "10.0.0.1");
	check_client(XFF("192.0.2.1, ::"), "10.0.0.1");
	check_client(XFF("192.0.2.1, unix, 10.0.0.2"), "10.0.0.1");
	check_client(XFF("192.0.2.1 10.0.0.2"), "10.0.0.1");
	check_client(XFF("garbage, ;, 192.0.2.1"), "192.0.2.1");
	check_client(XFF("garbage") XFF("192.0.2.1, 10.0.0.2"), "192.0.2.1");
}

static void
check_groups(void)
{
	struct in6_addr one;
	struct in6_addr other;
	char		out[INET6_ADDRSTRLEN];

	read_exactly("2001:db8:1:2:f3f4:f5:6:7", &one);
	one = address_group(&one);
	address_write(&one, out);
	tap_ok(strcmp(out, "2001:db8:1:2::") == 0, "IPv6 is counted by /64");
	read_exactly("192.0.2.1", &one);
	other = address_group(&one);
	tap_ok(memcmp(&one, &other, sizeof(one)) == 0, "IPv4 by address");
	tap_ok(key_hash(&one, 1) != key_hash(&one, 2), "where it lies nobody knows beforehand");
}

int
main(void)
{
	check_addresses();
	check_lists();
	check_clients();
	check_groups();
	return tap_done();
}
