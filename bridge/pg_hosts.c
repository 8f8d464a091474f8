/*
 * pg_hosts.c - from the connection string to one address at a time
 *
 * libpq takes lists of hosts and names with several addresses, but leaves two
 * things to those who connect without blocking: the time that each may take,
 * and looking names up, which blocks. So the string is read here, by libpq's
 * own functions (with its environment and service file), and libpq is given
 * one host with one address (host and hostaddr: the name still stands for the
 * certificate and the password). A search goes through the list in its order,
 * and through all addresses of each name, looked up when it is the name's turn.
 *
 * target_session_attrs holds over the whole list: libpq checks it for the one
 * server it is given, and the search goes on. Where the string takes any server
 * there are two rounds: first for one that can be written to, then for any, so
 * that a standby is read from only while there is nothing better.
 *
 * A host that let a time pass without a word is silent until somebody gets
 * through to it: it is tried last, and for the shortest time, so that nobody
 * waits for packets that are dropped while another host answers.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "log.h"
#include "pg_hosts.h"
#include "random.h"

#define HOSTS_MAX 64
#define SHARE_LEAST_MS 2000

typedef struct Host
{
	char	   *host;			/* NULL: libpq's default */
	char	   *address;
	char	   *port;
	bool		silent;			/* when somebody last wanted something from it */
	uint64_t	heard;			/* ms: its last answer to anybody */
} Host;

struct PgHosts
{
	Bridge	   *bridge;
	int			count;
	Host		list[HOSTS_MAX];
	int64_t		timeout_ms;		/* for one address */
	bool		shuffled;		/* load_balance_hosts=random */
	bool		may_be_readonly;	/* the string takes any server */
	char		said[6];		/* SQLSTATE of the last trouble that was logged */
};

typedef struct LookUp
{
	uv_getaddrinfo_t request;
	PgSearch   *search;			/* NULL once nobody waits */
} LookUp;

struct PgSearch
{
	PgHosts    *hosts;
	PgFound		found;
	void	   *owner;
	LookUp	   *look_up;		/* under way */
	struct addrinfo *addresses; /* of the host before `next` */
	struct addrinfo *address;	/* the next of them */
	char		text[NI_MAXHOST];
	char		reason[200];
	int			order[HOSTS_MAX];
	int			next;			/* in order */
	int			round;
	int			avoided;		/* a host that isn't tried; -1: none */
};

/* ---- the connection string ---- */

static char *
copy(const char *text)
{
	char	   *copied = text && text[0] ? strdup(text) : NULL;

	if (text && text[0] && copied == NULL)
		abort();
	return copied;
}

static const char *
value_in(const PQconninfoOption *options, const char *keyword)
{
	for (; options && options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val && options->val[0] ? options->val : NULL;
	return NULL;
}

/* PQconndefaults knows the service that the environment names, not the string's. */
static PQconninfoOption *
defaults_for(const PQconninfoOption *given)
{
	const char *service = value_in(given, "service");
	char	   *before = copy(getenv("PGSERVICE"));
	PQconninfoOption *defaults;

	if (service)
		setenv("PGSERVICE", service, 1);
	defaults = PQconndefaults();
	if (service && before)
		setenv("PGSERVICE", before, 1);
	else if (service)
		unsetenv("PGSERVICE");
	free(before);
	return defaults;
}

/* The members of a list, in memory of one piece that *list is to be freed as; 0 for none. */
static int
split(const char *text, char **list, char *members[HOSTS_MAX])
{
	int			count = 0;
	char	   *rest = *list = copy(text);

	while (rest && count < HOSTS_MAX)
		members[count++] = strsep(&rest, ",");
	return count;
}

static void
add_hosts(PgHosts *hosts, const char *names, const char *addresses, const char *ports)
{
	char	   *texts[3];
	char	   *host[HOSTS_MAX];
	char	   *address[HOSTS_MAX];
	char	   *port[HOSTS_MAX];
	int			names_count = split(names, &texts[0], host);
	int			address_count = split(addresses, &texts[1], address);
	int			port_count = split(ports, &texts[2], port);
	int			count = address_count ? address_count : names_count ? names_count : 1;

	/* Lists that don't fit each other: libpq gets the string as it is, and says so. */
	if ((names_count && names_count != count) || (port_count > 1 && port_count != count))
		count = 0;
	for (int i = 0; i < count; i++)
	{
		hosts->list[i].host = names_count ? copy(host[i]) : NULL;
		hosts->list[i].address = address_count ? copy(address[i]) : NULL;
		hosts->list[i].port = port_count ? copy(port[port_count > 1 ? i : 0]) : NULL;
	}
	hosts->count = count ? count : 1;
	for (int i = 0; i < 3; i++)
		free(texts[i]);
}

/* connect_timeout is each address's own; without it they share what the database may take. */
static int64_t
time_for_one(const PgHosts *hosts, const char *connect_timeout)
{
	int64_t		all = hosts->bridge->options.database_timeout_ms;
	int64_t		share = all / hosts->count;
	int			given = connect_timeout ? atoi(connect_timeout) : 0;

	if (given > 0)
		return (given < 2 ? 2 : given) * INT64_C(1000);
	if (share < SHARE_LEAST_MS)
		share = SHARE_LEAST_MS;
	return share < all ? share : all;
}

PgHosts *
pg_hosts_new(Bridge *bridge)
{
	const char *database = bridge->options.database;
	PgHosts    *hosts = calloc(1, sizeof(*hosts));
	PQconninfoOption *given = check_is_conninfo(database) ? PQconninfoParse(database, NULL) : NULL;
	PQconninfoOption *defaults = defaults_for(given);
	const char *attributes;
	const char *balance;

#define VALUE(keyword)	(value_in(given, keyword) ? value_in(given, keyword) : value_in(defaults, keyword))
	if (hosts == NULL)
		abort();
	hosts->bridge = bridge;
	add_hosts(hosts, VALUE("host"), VALUE("hostaddr"), VALUE("port"));
	hosts->timeout_ms = time_for_one(hosts, VALUE("connect_timeout"));
	attributes = VALUE("target_session_attrs");
	balance = VALUE("load_balance_hosts");
	hosts->shuffled = balance && strcmp(balance, "random") == 0;
	hosts->may_be_readonly = attributes == NULL || strcmp(attributes, "any") == 0 || strcmp(attributes, "prefer-standby") == 0;
#undef VALUE
	PQconninfoFree(given);
	PQconninfoFree(defaults);
	return hosts;
}

void
pg_hosts_free(PgHosts *hosts)
{
	for (int i = 0; i < hosts->count; i++)
	{
		free(hosts->list[i].host);
		free(hosts->list[i].address);
		free(hosts->list[i].port);
	}
	free(hosts);
}

Bridge *
pg_hosts_bridge(const PgHosts *hosts)
{
	return hosts->bridge;
}

bool
pg_hosts_are_several(const PgHosts *hosts)
{
	return hosts->count > 1;
}

bool
pg_hosts_may_be_readonly(const PgHosts *hosts)
{
	return hosts->may_be_readonly;
}

void
pg_hosts_silent(PgHosts *hosts, int host)
{
	hosts->list[host].silent = true;
}

void
pg_hosts_heard(PgHosts *hosts, int host)
{
	hosts->list[host].silent = false;
	hosts->list[host].heard = uv_now(&hosts->bridge->loop);
}

bool
pg_host_is_silent(const PgHosts *hosts, int host)
{
	return hosts->list[host].silent;
}

uint64_t
pg_hosts_heard_at(const PgHosts *hosts, int host)
{
	return hosts->list[host].heard;
}

/* ---- searches ---- */

PgSearch *
pg_search_new(PgHosts *hosts, PgFound found, void *owner)
{
	PgSearch   *search = calloc(1, sizeof(*search));

	if (search == NULL)
		abort();
	search->hosts = hosts;
	search->found = found;
	search->owner = owner;
	search->avoided = -1;
	pg_search_begin(search);
	return search;
}

static void
forget_names(PgSearch *search)
{
	if (search->look_up)
	{
		search->look_up->search = NULL;
		uv_cancel((uv_req_t *) &search->look_up->request);
		search->look_up = NULL;
	}
	uv_freeaddrinfo(search->addresses);
	search->addresses = search->address = NULL;
}

void
pg_search_free(PgSearch *search)
{
	forget_names(search);
	free(search);
}

/* Those that were silent after the others; the order stays otherwise. */
static void
silent_last(PgSearch *search)
{
	int			sorted[HOSTS_MAX] = {0};
	int			count = 0;

	for (int silent = 0; silent <= 1; silent++)
		for (int i = 0; i < search->hosts->count; i++)
			if (search->hosts->list[search->order[i]].silent == silent)
				sorted[count++] = search->order[i];
	memcpy(search->order, sorted, (size_t) count * sizeof(sorted[0]));
}

void
pg_search_begin(PgSearch *search)
{
	int			count = search->hosts->count;

	forget_names(search);
	search->next = search->round = 0;
	search->reason[0] = '\0';
	for (int i = 0; i < count; i++)
		search->order[i] = i;
	for (int i = count - 1; search->hosts->shuffled && i > 0; i--)
	{
		int			other = (int) (random_number() % (uint32_t) (i + 1));
		int			kept = search->order[i];

		search->order[i] = search->order[other];
		search->order[other] = kept;
	}
	silent_last(search);
}

void
pg_search_avoid(PgSearch *search, int host)
{
	search->avoided = host;
}

int
pg_search_host(const PgSearch *search)
{
	return search->order[search->next > 0 ? search->next - 1 : 0];
}

static void
give(PgSearch *search, const Host *host, const char *address)
{
	PgHosts    *hosts = search->hosts;
	PgTarget	target = {host->host, address, host->port, NULL, hosts->timeout_ms};

	if (hosts->may_be_readonly)
		target.attributes = search->round == 0 ? "read-write" : "any";
	if (host->silent && target.timeout_ms > SHARE_LEAST_MS)
		target.timeout_ms = SHARE_LEAST_MS;
	search->found(search->owner, &target, NULL);
}

/* The next address of the name whose turn it is; false where there is none left. */
static bool
give_address(PgSearch *search)
{
	while (search->address)
	{
		struct addrinfo *address = search->address;

		search->address = address->ai_next;
		if (getnameinfo(address->ai_addr, address->ai_addrlen, search->text, sizeof(search->text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		give(search, &search->hosts->list[pg_search_host(search)], search->text);
		return true;
	}
	return false;
}

static void
looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
	LookUp	   *look_up = request->data;
	PgSearch   *search = look_up->search;

	free(look_up);
	if (search == NULL)
	{
		uv_freeaddrinfo(addresses);
		return;
	}
	search->look_up = NULL;
	search->addresses = search->address = addresses;
	if (status != 0)
		snprintf(search->reason, sizeof(search->reason), "looking up \"%.60s\": %s",
				 search->hosts->list[pg_search_host(search)].host, uv_strerror(status));
	if (!give_address(search))
		pg_search_next(search);
}

/* False where it can't even be begun. */
static bool
look_up(PgSearch *search, const char *name)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	LookUp	   *look_up = calloc(1, sizeof(*look_up));

	if (look_up == NULL)
		return false;
	look_up->search = search;
	look_up->request.data = look_up;
	if (uv_getaddrinfo(&search->hosts->bridge->loop, &look_up->request, looked_up, name, NULL, &hints) != 0)
	{
		free(look_up);
		return false;
	}
	search->look_up = look_up;
	return true;
}

/* Is it something that a resolver must be asked about? */
static bool
is_name(const char *host)
{
	unsigned char bytes[16];

	return host && host[0] != '/' && host[0] != '@' && strchr(host, ':') == NULL && inet_pton(AF_INET, host, bytes) != 1;
}

void
pg_search_next(PgSearch *search)
{
	PgHosts    *hosts = search->hosts;
	int			rounds = hosts->may_be_readonly && search->avoided < 0 ? 2 : 1;

	if (give_address(search))
		return;
	forget_names(search);
	while (search->next < hosts->count || ++search->round < rounds)
	{
		const Host *host;

		if (search->next == hosts->count)
			search->next = 0;
		host = &hosts->list[search->order[search->next++]];
		if (pg_search_host(search) == search->avoided)
			continue;
		if (host->address == NULL && is_name(host->host))
		{
			if (look_up(search, host->host))
				return;
			continue;
		}
		give(search, host, host->address);
		return;
	}
	search->found(search->owner, NULL, search->reason[0] ? search->reason : NULL);
}

/* ---- errors ---- */

typedef struct Trouble
{
	const char *sqlstate;		/* or its class, two characters */
	const char *advice;
} Trouble;

static const Trouble troubles[] = {
	{"3F000", "the database has no schema \"scoreboard\": run CREATE EXTENSION scoreboard there, or name the right database"},
	{"42883", "the database lacks a function of the extension: run CREATE EXTENSION scoreboard, or ALTER EXTENSION scoreboard UPDATE, there"},
	{"42P01", "the database lacks a table of the extension: run CREATE EXTENSION scoreboard there, or repair it"},
	{"42501", "the bridge's role lacks rights: run SELECT scoreboard_grant_access('the role', 'gateway') there"},
	{"25006", "the server can't be written to"},
	{"55000", "the server is in a state in which it can't do its work"},
	{"53", "the server lacks a resource: disk, memory or connections"},
	{"58", "the server's system fails"},
};

static const Trouble *
find_trouble(const char *sqlstate)
{
	for (size_t i = 0; sqlstate && i < sizeof(troubles) / sizeof(troubles[0]); i++)
		if (strncmp(sqlstate, troubles[i].sqlstate, strlen(troubles[i].sqlstate)) == 0)
			return &troubles[i];
	return NULL;
}

bool
pg_error_lasts(const char *sqlstate)
{
	return find_trouble(sqlstate) != NULL;
}

bool
pg_error_passes(const char *sqlstate)
{
	static const char *const states[] = {"40001", "40P01", "55P03", "57", "08", "25P0"};

	for (size_t i = 0; sqlstate && i < sizeof(states) / sizeof(states[0]); i++)
		if (strncmp(sqlstate, states[i], strlen(states[i])) == 0)
			return true;
	return false;
}

void
pg_error_said(PgHosts *hosts, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const Trouble *trouble = find_trouble(sqlstate);

	if (trouble == NULL)
		return;
	if (strcmp(hosts->said, sqlstate) != 0)
	{
		snprintf(hosts->said, sizeof(hosts->said), "%s", sqlstate);
		log_error("the database can't serve", LOG_TEXT("sqlstate", sqlstate), LOG_TEXT("advice", trouble->advice),
				  LOG_TEXT("reason", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
	}
}

void
pg_error_over(PgHosts *hosts)
{
	if (hosts->said[0])
		log_info("the database serves again");
	hosts->said[0] = '\0';
}
