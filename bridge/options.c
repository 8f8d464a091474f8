/*
 * options.c - the one table of settings, and all that walks it
 *
 * A row is a setting: its flag, where it is kept, its type, default and range,
 * and a sentence. The name of the environment variable is made from the flag.
 * The flag wins over the environment, the environment over the default.
 *
 * Whatever is wrong ends the bridge with one sentence that names the setting as
 * it was given, its value and what is wanted: a typo in a flag or in the name of
 * a variable as well as a value that could only fail later. An empty value means
 * the default where that is empty, and is an error elsewhere.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* environ */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "addresses.h"
#include "checks.h"
#include "options.h"
#include "shared.h"
#include "smoke_http.h"
#include "sockets.h"

typedef enum SettingType
{
	SETTING_TEXT,
	SETTING_SWITCH,				/* a flag alone is "on" */
	SETTING_NUMBER,
	SETTING_TIME				/* kept in milliseconds; 500ms, 10s, 2m */
} SettingType;

/* Writes what is wrong with a value. */
typedef bool (*Check) (const char *value, char *reason, size_t size);

typedef struct Setting
{
	const char *flag;
	SettingType type;
	size_t		offset;
	const char *preset;			/* default, as the user would write it */
	int64_t		low;
	int64_t		high;
	const char *help;
	Check		check;			/* of a text, may be NULL */
} Setting;

#define TEXT(field)	SETTING_TEXT, offsetof(Options, field)
#define SWITCH(field)	SETTING_SWITCH, offsetof(Options, field)
#define NUMBER(field)	SETTING_NUMBER, offsetof(Options, field)
#define TIME(field)	SETTING_TIME, offsetof(Options, field)

/* As for --listen, or empty. */
static bool
check_metrics(const char *value, char *reason, size_t size)
{
	return value[0] == '\0' || sockets_check(value, reason, size);
}

static const Setting settings[] = {
	{"listen", TEXT(listen), "127.0.0.1:8080", 0, 0,
	"address:port to listen on, several with commas; every address of a name; [::]:8080 for IPv6, port 0 takes a free one; unix:/path for a unix socket", sockets_check},
	{"socket-mode", TEXT(socket_mode), "0660", 0, 0,
	"mode of a unix socket's file: who may connect", sockets_check_mode},
	{"tls-certificate", TEXT(tls_certificate), "", 0, 0,
	"file with the certificate and those that lead to its root (PEM): all addresses speak TLS then, unix sockets don't; SIGHUP reads it anew", NULL},
	{"tls-key", TEXT(tls_key), "", 0, 0,
	"file with the certificate's key (PEM, without a passphrase)", NULL},
	{"share-port", SWITCH(share_port), "off", 0, 0,
	"share the ports with other bridges of the same user that say so too; without it a port that is taken is an error", NULL},
	{"metrics-listen", TEXT(metrics_listen), "", 0, 0,
	"address:port for /metrics, which no other port has; best of loopback (127.0.0.1:9464), since whoever can connect may read", check_metrics},
	{"trusted-proxy", TEXT(trusted_proxy), "", 0, 0,
	"proxies whose X-Forwarded-For says where a request comes from: addresses and ranges (10.0.0.0/8) with commas, unix for peers on a unix socket", proxies_check},
	{"database", TEXT(database), "", 0, 0,
	"libpq connection string or URI; without it libpq's own environment (PGHOST, PGSERVICE, ...) decides", check_database},
	{"www", TEXT(www), "", 0, 0,
	"directory of the live page; its files are read once at the start and served from memory", check_directory},
	{"allowed-origins", TEXT(allowed_origins), "", 0, 0,
	"origins of other sites whose pages may use this bridge, with commas (https://a.example); * is any", check_origins},
	{"cookie", TEXT(cookie), "", 0, 0,
	"name of a cookie whose token opens streams, beside an Origin that is the bridge's own or named in allowed-origins", check_cookie},
	{"log-level", TEXT(log_level), "info", 0, 0,
	"debug, info, warn or error", check_level},
	{"smoke", TEXT(smoke), "", 0, 0,
	"URL of a bridge that runs: looks whether it works (ready, contracts, top, event stream, WebSocket), says a line for each and ends, with 1 if one has failed", smoke_check_url},
	{"smoke-token-file", TEXT(smoke_token_file), "", 0, 0,
	"file with a token for that; variable " SMOKE_TOKEN_VARIABLE " may hold the token itself", NULL},
	{"smoke-action-file", TEXT(smoke_action_file), "", 0, 0,
	"file with an increment's body, receipt included: it is counted once, however often this is repeated, and replayed", NULL},
	{"workers", NUMBER(workers), "1", 1, WORKERS_MAX,
	"processes that serve clients, each on a processor of its own; more than one share sockets and limits below a supervisor that starts them again", NULL},
	{"pool-size", NUMBER(pool_size), "4", 1, 64,
	"database connections of each worker, of which reads leave one to increments and these one to reads; one more is used for listening", NULL},
	{"queue-size", NUMBER(queue_size), "1024", 1, 1000000,
	"increments that may wait in each worker for a database connection; more are answered 503", NULL},
	{"max-connections", NUMBER(max_connections), "16384", 1, 1000000,
	"clients at a time of each worker; lowered to what the limit of open files allows", NULL},
	{"max-connections-per-address", NUMBER(max_connections_per_address), "256", 1, 1000000,
	"clients at a time from one IPv4 address or IPv6 /64", NULL},
	{"requests-per-minute", NUMBER(requests_per_minute), "100", 0, 1000000,
	"requests from one IPv4 address or IPv6 /64, of which one more means 429 for 60 s; 0 takes any", NULL},
	{"max-streams-per-player", NUMBER(max_streams_per_player), "3", 1, 1000,
	"streams of one player at a time; another one ends the oldest", NULL},
	{"submit-timeout", TIME(submit_timeout_ms), "10s", 100, 600000,
	"how long an increment is tried before it is answered 503", NULL},
	{"look-interval", TIME(look_interval_ms), "2s", 50, 3600000,
	"how often the versions are looked at without a notification", NULL},
	{"database-timeout", TIME(database_timeout_ms), "10s", 100, 600000,
	"how long the database may take to connect or to answer a look before the connection is given up", NULL},
	{"reconnect-max", TIME(reconnect_max_ms), "5s", 10, 600000,
	"longest pause between two attempts to reach the database", NULL},
	{"slow-timeout", TIME(slow_timeout_ms), "10s", 100, 600000,
	"how long a stream may take nothing before it is dropped", NULL},
	{"ping-interval", TIME(ping_interval_ms), "30s", 200, 3600000,
	"how often a WebSocket is pinged; event streams get a comment twice as often", NULL},
	{"head-timeout", TIME(head_timeout_ms), "5s", 1000, 600000,
	"how long a request's headers may take (whole seconds)", NULL},
	{"body-timeout", TIME(body_timeout_ms), "10s", 100, 600000,
	"how long a request's body may take", NULL},
	{"idle-timeout", TIME(idle_timeout_ms), "75s", 100, 3600000,
	"how long a connection is kept without a request", NULL},
	{"drain-timeout", TIME(drain_timeout_ms), "10s", 0, 600000,
	"how long an ending bridge waits for requests in flight", NULL},
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static void
variable_name(const Setting *setting, char *name, size_t size)
{
	size_t		n = (size_t) snprintf(name, size, "SCOREBOARD_");

	for (const char *p = setting->flag; *p && n + 1 < size; p++)
		name[n++] = *p == '-' ? '_' : (char) toupper((unsigned char) *p);
	name[n] = '\0';
}

/* 500ms, 10s, 2m, 1h; a bare number is seconds, as people expect of a time. */
static bool
read_number(const Setting *setting, const char *text, int64_t *number)
{
	static const struct
	{
		const char *unit;
		int64_t		factor;
	}			units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	char	   *end;
	long long	value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || errno || value < 0 || value > INT32_MAX)
		return false;
	if (setting->type == SETTING_NUMBER)
	{
		*number = value;
		return *end == '\0' && value >= setting->low && value <= setting->high;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0)
		{
			*number = value * units[i].factor;
			return *number >= setting->low && *number <= setting->high;
		}
	return false;
}

static bool
set(Options *options, const Setting *setting, const char *value, const char *where)
{
	char	   *field = (char *) options + setting->offset;
	char		reason[512] = "";
	bool		fine = true;

	switch (setting->type)
	{
		case SETTING_TEXT:
			*(const char **) field = value;
			fine = setting->check == NULL || setting->check(value, reason, sizeof(reason));
			break;
		case SETTING_SWITCH:
			*(bool *) field = strcmp(value, "on") == 0;
			fine = *(bool *) field || strcmp(value, "off") == 0;
			snprintf(reason, sizeof(reason), "on or off is wanted");
			break;
		case SETTING_NUMBER:
		case SETTING_TIME:
			fine = read_number(setting, value, (int64_t *) field);
			snprintf(reason, sizeof(reason), "a %s from %lld to %lld%s is wanted",
					 setting->type == SETTING_TIME ? "time" : "whole number",
					 (long long) setting->low, (long long) setting->high,
					 setting->type == SETTING_TIME ? " ms (written 500ms, 10s, 2m)" : "");
			break;
	}
	if (value[0] == '\0' && setting->preset[0])
	{
		fprintf(stderr, "scoreboard-bridge: %s is empty, but wants a value (default: %s)\n", where, setting->preset);
		return false;
	}
	/* What connects to the database may hold a password. */
	if (!fine && setting->check == check_database)
		fprintf(stderr, "scoreboard-bridge: %s is no connection string: %s\n", where, reason);
	else if (!fine)
		fprintf(stderr, "scoreboard-bridge: %s: \"%s\" is no good: %s\n", where, value, reason);
	return fine;
}

static void
print_help(void)
{
	static const char *const kinds[] = {"TEXT", "[=on|off]", "N", "TIME"};
	char		variable[64];

	printf("scoreboard-bridge pushes leaderboards to browsers and takes their increments.\n\n"
		   "Usage: scoreboard-bridge [--flag value | --flag=value]...\n\n");
	for (size_t i = 0; i < SETTINGS; i++)
	{
		variable_name(&settings[i], variable, sizeof(variable));
		printf("  --%s %s\n      %s.\n      Default: %s. Variable: %s\n",
			   settings[i].flag, kinds[settings[i].type],
			   settings[i].help, settings[i].preset[0] ? settings[i].preset : "(empty)", variable);
	}
	printf("  --help\n  --version\n\n"
		   "Signals: SIGTERM or SIGINT end gracefully, a second one at once; SIGHUP reads the certificate anew.\n");
}

static const Setting *
find(const char *flag, size_t length)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (strlen(settings[i].flag) == length && strncmp(settings[i].flag, flag, length) == 0)
			return &settings[i];
	return NULL;
}

/* The flag or variable that was probably meant, NULL where none is near. */
static const Setting *
nearest(const char *name, bool variables)
{
	const Setting *best = NULL;
	int			least = 4;

	for (size_t i = 0; i < SETTINGS; i++)
	{
		char		variable[64];
		int			distance;

		variable_name(&settings[i], variable, sizeof(variable));
		distance = check_distance(name, variables ? variable : settings[i].flag);
		if (distance < least && distance * 2 < (int) strlen(settings[i].flag))
		{
			least = distance;
			best = &settings[i];
		}
	}
	return best;
}

static bool
unknown_flag(const char *given)
{
	char		name[64];
	const Setting *meant;

	snprintf(name, sizeof(name), "%.*s", (int) strcspn(given, "="), given);
	meant = nearest(name + strspn(name, "-"), false);
	if (meant)
		fprintf(stderr, "scoreboard-bridge: \"%s\" is no flag; is --%s meant?\n", name, meant->flag);
	else
		fprintf(stderr, "scoreboard-bridge: \"%s\" is no flag; --help lists them\n", name);
	return false;
}

static bool
read_flags(Options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		const char *flag = argv[i] + 2;
		const char *value = NULL;
		const Setting *setting = NULL;
		char		where[64];

		if (strncmp(argv[i], "--", 2) == 0)
		{
			size_t		length = strcspn(flag, "=");

			setting = find(flag, length);
			value = flag[length] == '=' ? flag + length + 1 : NULL;
		}
		if (setting == NULL)
			return unknown_flag(argv[i]);
		if (value == NULL && setting->type == SETTING_SWITCH)
			value = "on";
		else if (value == NULL && ++i < argc)
			value = argv[i];
		if (value == NULL)
		{
			fprintf(stderr, "scoreboard-bridge: --%s wants a value\n", setting->flag);
			return false;
		}
		snprintf(where, sizeof(where), "--%s", setting->flag);
		if (!set(options, setting, value, where))
			return false;
	}
	return true;
}

/* Our own names in the environment must be settings: a typo would be a default nobody wanted. */
static bool
check_variables(void)
{
	for (char **entry = environ; *entry; entry++)
	{
		char		name[64];
		char		variable[64];
		size_t		length = strcspn(*entry, "=");
		bool		known = strncmp(*entry, "SCOREBOARD_", 11) != 0 || strncmp(*entry, SMOKE_TOKEN_VARIABLE "=", sizeof(SMOKE_TOKEN_VARIABLE)) == 0;

		for (size_t i = 0; i < SETTINGS && !known; i++)
		{
			variable_name(&settings[i], variable, sizeof(variable));
			known = strlen(variable) == length && strncmp(*entry, variable, length) == 0;
		}
		if (known)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int) length, *entry);
		if (nearest(name, true))
		{
			variable_name(nearest(name, true), variable, sizeof(variable));
			fprintf(stderr, "scoreboard-bridge: variable %s is no setting; is %s meant?\n", name, variable);
		}
		else
			fprintf(stderr, "scoreboard-bridge: variable %s is no setting; --help lists them\n", name);
		return false;
	}
	return true;
}

OptionsOutcome
options_read(Options *options, int argc, char **argv)
{
	char		variable[64];

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--help") == 0)
		{
			print_help();
			return OPTIONS_DONE;
		}
		if (strcmp(argv[i], "--version") == 0)
		{
			printf("scoreboard-bridge %s (libwebsockets %s)\n", SCOREBOARD_VERSION, lws_get_library_version());
			return OPTIONS_DONE;
		}
	}
	for (size_t i = 0; i < SETTINGS; i++)
	{
		const char *value;

		variable_name(&settings[i], variable, sizeof(variable));
		value = getenv(variable);
		if (!set(options, &settings[i], settings[i].preset, settings[i].flag) ||
			(value && !set(options, &settings[i], value, variable)))
			return OPTIONS_BAD;
	}
	return check_variables() && read_flags(options, argc, argv) ? OPTIONS_RUN : OPTIONS_BAD;
}
