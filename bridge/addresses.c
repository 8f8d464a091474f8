/*
 * addresses.c - where requests come from: addresses as text, trusted proxies, and what these forward
 *
 * Plain C without sockets or loop. A proxy appends the address of its own peer
 * to X-Forwarded-For; what stands left of that, anybody may have sent. So hops
 * are read from the right, as long as a proxy that we trust vouches for the
 * next one, and not one further: what an attacker puts in front costs nothing
 * and decides nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "addresses.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_PEERS "unix"
#define V4_BITS 96				/* that ::ffff:0:0 has before an IPv4 address */

typedef struct Range
{
	struct in6_addr address;
	int			bits;
} Range;

struct Proxies
{
	bool		unix_peers;
	int			count;
	Range		ranges[];
};

/* ---- addresses ---- */

/* Digits, dots and colons alone. */
static bool
read_bare(const char *text, size_t length, struct in6_addr *address)
{
	char		copy[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (length >= sizeof(copy) || memchr(text, '\0', length))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (inet_pton(AF_INET, copy, &v4) != 1)
		return inet_pton(AF_INET6, copy, address) == 1;
	memset(address, 0, sizeof(*address));
	memset(address->s6_addr + 10, 0xff, 2);
	memcpy(address->s6_addr + 12, &v4, sizeof(v4));
	return true;
}

static bool
is_port(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return length >= 1 && length <= 5;
}

/* With brackets or a port, too. */
static bool
read_any(Slice text, struct in6_addr *address)
{
	const char *end = text.at + text.length;
	const char *colon = memchr(text.at, ':', text.length);
	const char *bracket;

	if (text.length > 0 && text.at[0] == '[')
	{
		bracket = memchr(text.at, ']', text.length);
		if (bracket == NULL || (bracket + 1 < end && (bracket[1] != ':' || !is_port(bracket + 2, (size_t) (end - bracket) - 2))))
			return false;
		/* An IPv4 address stands in no brackets. */
		return memchr(text.at, ':', (size_t) (bracket - text.at)) && read_bare(text.at + 1, (size_t) (bracket - text.at) - 1, address);
	}
	/* One colon is a port's. */
	if (colon && memchr(colon + 1, ':', (size_t) (end - colon) - 1) == NULL)
		return is_port(colon + 1, (size_t) (end - colon) - 1) && read_bare(text.at, (size_t) (colon - text.at), address);
	return read_bare(text.at, text.length, address);
}

bool
address_read(Slice text, struct in6_addr *address)
{
	return read_any(text, address) && !IN6_IS_ADDR_UNSPECIFIED(address);
}

void
address_write(const struct in6_addr *address, char out[INET6_ADDRSTRLEN])
{
	if (IN6_IS_ADDR_V4MAPPED(address))
		inet_ntop(AF_INET, address->s6_addr + 12, out, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, address, out, INET6_ADDRSTRLEN);
}

struct in6_addr
address_group(const struct in6_addr *address)
{
	struct in6_addr group = *address;

	if (!IN6_IS_ADDR_V4MAPPED(address))
		memset(group.s6_addr + 8, 0, 8);
	return group;
}

/* ---- trusted proxies ---- */

/* Has the address none but its first `bits`? */
static bool
is_prefix(const Range *range)
{
	for (int i = range->bits; i < 128; i++)
		if (range->address.s6_addr[i / 8] & (0x80 >> i % 8))
			return false;
	return true;
}

/* An address, or one with /bits. */
static bool
read_range(const char *text, size_t length, Range *range, const char **wanted)
{
	const char *slash = memchr(text, '/', length);
	size_t		bare = slash ? (size_t) (slash - text) : length;
	int			most = memchr(text, ':', bare) ? 128 : 32;

	range->bits = 128;
	*wanted = "a list of addresses, ranges like 10.0.0.0/8 and " UNIX_PEERS ", with commas,";
	if (!read_bare(text, bare, &range->address))
		return false;
	if (slash == NULL)
		return true;
	*wanted = most == 32 ? "a number from 0 to 32 behind the slash" : "a number from 0 to 128 behind the slash";
	if (!is_port(slash + 1, length - bare - 1) || atoi(slash + 1) > most)
		return false;
	range->bits = atoi(slash + 1) + (most == 32 ? V4_BITS : 0);
	*wanted = "a range whose address has no bits behind its prefix";
	return is_prefix(range);
}

/* Into proxies, which may be NULL; false with what is wanted. */
static bool
read_list(const char *list, Proxies *proxies, const char **wanted)
{
	for (const char *p = list; *list; p++)
	{
		size_t		length = strcspn(p, ",");
		Range		range;

		if (length == strlen(UNIX_PEERS) && memcmp(p, UNIX_PEERS, length) == 0)
		{
			if (proxies)
				proxies->unix_peers = true;
		}
		else if (!read_range(p, length, &range, wanted))
			return false;
		else if (proxies)
			proxies->ranges[proxies->count++] = range;
		p += length;
		if (*p == '\0')
			break;
	}
	return true;
}

bool
proxies_check(const char *list, char *reason, size_t size)
{
	const char *wanted;

	if (read_list(list, NULL, &wanted))
		return true;
	snprintf(reason, size, "%s is wanted", wanted);
	return false;
}

Proxies *
proxies_new(const char *list)
{
	size_t		most = 1;
	const char *wanted;
	Proxies    *proxies;

	for (const char *p = list; *p; p++)
		most += *p == ',';
	proxies = calloc(1, sizeof(*proxies) + most * sizeof(Range));
	if (proxies == NULL || !read_list(list, proxies, &wanted))
		abort();
	return proxies;
}

static bool
is_in(const Range *range, const struct in6_addr *address)
{
	int			bytes = range->bits / 8;
	int			rest = range->bits % 8;

	return memcmp(&range->address, address, (size_t) bytes) == 0 &&
		(rest == 0 || (range->address.s6_addr[bytes] ^ address->s6_addr[bytes]) >> (8 - rest) == 0);
}

bool
proxies_have(const Proxies *proxies, const struct in6_addr *peer)
{
	if (IN6_IS_ADDR_UNSPECIFIED(peer))
		return proxies->unix_peers;
	for (int i = 0; i < proxies->count; i++)
	{
		const Range *range = &proxies->ranges[i];

		/* ::/0 and its like mean IPv6, whose range for IPv4 they would include. */
		if (IN6_IS_ADDR_V4MAPPED(peer) == (range->bits >= V4_BITS && IN6_IS_ADDR_V4MAPPED(&range->address)) && is_in(range, peer))
			return true;
	}
	return false;
}

/* ---- what they forward ---- */

/* The last element of a list, without blanks around it, taken off; false: there is none. */
static bool
last_element(Slice *list, Slice *element)
{
	while (list->length > 0)
	{
		size_t		at = list->length;
		size_t		end = at;

		while (at > 0 && list->at[at - 1] != ',')
			at--;
		list->length = at > 0 ? at - 1 : 0;
		while (end > at && (list->at[end - 1] == ' ' || list->at[end - 1] == '\t'))
			end--;
		while (at < end && (list->at[at] == ' ' || list->at[at] == '\t'))
			at++;
		*element = (Slice) {list->at + at, end - at};
		if (element->length > 0)
			return true;
	}
	return false;
}

struct in6_addr
proxies_client(const Proxies *proxies, const struct in6_addr *peer, const H1Head *head)
{
	struct in6_addr client = *peer;

	/* Several headers are one list, in their order. */
	for (int i = head->field_count - 1; i >= 0; i--)
	{
		Slice		list = head->fields[i].value;
		Slice		element;

		if (!h1_name_is(head->fields[i].name, "x-forwarded-for"))
			continue;
		while (last_element(&list, &element))
		{
			if (!address_read(element, &client))
				return *peer;
			if (!proxies_have(proxies, &client))
				return client;
		}
	}
	return client;
}
