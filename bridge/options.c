/*
 * options.c - the one table of settings, and all that walks it
 *
 * A row is a setting: its flag, where it is kept, its type, default and range,
 * and a sentence. The name of the environment variable is made from the flag.
 * The flag wins over the environment, the environment over the default.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libwebsockets.h>

#include "options.h"

#ifndef SCOREBOARD_VERSION
#define SCOREBOARD_VERSION "unreleased"
#endif

typedef enum SettingType
{
	SETTING_TEXT,
	SETTING_NUMBER,
	SETTING_TIME				/* kept in milliseconds; 500ms, 10s, 2m */
} SettingType;

typedef struct Setting
{
	const char *flag;
	SettingType type;
	size_t		offset;
	const char *preset;			/* default, as the user would write it */
	int64_t		low;
	int64_t		high;
	const char *help;
} Setting;

#define TEXT(field)	SETTING_TEXT, offsetof(Options, field)
#define NUMBER(field)	SETTING_NUMBER, offsetof(Options, field)
#define TIME(field)	SETTING_TIME, offsetof(Options, field)

static const Setting settings[] = {
	{"listen", TEXT(listen), "127.0.0.1:8080", 0, 0,
	"address:port to listen on, several with commas; [::]:8080 for IPv6, port 0 takes a free one"},
	{"database", TEXT(database), "", 0, 0,
	"libpq connection string or URI; without it libpq's own environment (PGHOST, PGSERVICE, ...) decides"},
	{"www", TEXT(www), "", 0, 0,
	"directory of the live page; its files are read once at the start and served from memory"},
	{"allowed-origins", TEXT(allowed_origins), "", 0, 0,
	"origins of other sites whose pages may use this bridge, with commas (https://a.example); * is any"},
	{"log-level", TEXT(log_level), "info", 0, 0,
	"debug, info, warn or error"},
	{"pool-size", NUMBER(pool_size), "4", 1, 64,
	"database connections for increments; one more is used for listening"},
	{"queue-size", NUMBER(queue_size), "1024", 1, 1000000,
	"increments that may wait for a database connection; more are answered 503"},
	{"max-connections", NUMBER(max_connections), "16384", 1, 1000000,
	"clients at a time; lowered to what the limit of open files allows"},
	{"max-connections-per-address", NUMBER(max_connections_per_address), "256", 1, 1000000,
	"clients at a time from one IPv4 address or IPv6 /64"},
	{"submit-timeout", TIME(submit_timeout_ms), "10s", 100, 600000,
	"how long an increment is tried before it is answered 503"},
	{"look-interval", TIME(look_interval_ms), "2s", 50, 3600000,
	"how often the versions are looked at without a notification"},
	{"database-timeout", TIME(database_timeout_ms), "10s", 100, 600000,
	"how long the database may take to connect or to answer a look before the connection is given up"},
	{"reconnect-max", TIME(reconnect_max_ms), "5s", 10, 600000,
	"longest pause between two attempts to reach the database"},
	{"slow-timeout", TIME(slow_timeout_ms), "10s", 100, 600000,
	"how long a stream may take nothing before it is dropped"},
	{"ping-interval", TIME(ping_interval_ms), "30s", 200, 3600000,
	"how often a WebSocket is pinged; event streams get a comment twice as often"},
	{"head-timeout", TIME(head_timeout_ms), "5s", 1000, 600000,
	"how long a request's headers may take (whole seconds)"},
	{"body-timeout", TIME(body_timeout_ms), "10s", 100, 600000,
	"how long a request's body may take"},
	{"idle-timeout", TIME(idle_timeout_ms), "75s", 100, 3600000,
	"how long a connection is kept without a request"},
	{"drain-timeout", TIME(drain_timeout_ms), "10s", 0, 600000,
	"how long an ending bridge waits for requests in flight"},
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

	if (setting->type == SETTING_TEXT)
	{
		*(const char **) field = value;
		return true;
	}
	if (read_number(setting, value, (int64_t *) field))
		return true;
	fprintf(stderr, "scoreboard-bridge: %s: \"%s\" is no good: a %s from %lld to %lld%s is wanted\n",
			where, value, setting->type == SETTING_TIME ? "time" : "whole number",
			(long long) setting->low, (long long) setting->high,
			setting->type == SETTING_TIME ? " ms (written 500ms, 10s, 2m)" : "");
	return false;
}

static void
print_help(void)
{
	char		variable[64];

	printf("scoreboard-bridge pushes leaderboards to browsers and takes their increments.\n\n"
		   "Usage: scoreboard-bridge [--flag value | --flag=value]...\n\n");
	for (size_t i = 0; i < SETTINGS; i++)
	{
		variable_name(&settings[i], variable, sizeof(variable));
		printf("  --%s %s\n      %s.\n      Default: %s. Variable: %s\n",
			   settings[i].flag,
			   settings[i].type == SETTING_TEXT ? "TEXT" : settings[i].type == SETTING_TIME ? "TIME" : "N",
			   settings[i].help, settings[i].preset[0] ? settings[i].preset : "(empty)", variable);
	}
	printf("  --help\n  --version\n\n"
		   "Signals: SIGTERM or SIGINT end gracefully, a second one at once; SIGHUP does nothing yet.\n");
}

static const Setting *
find(const char *flag, size_t length)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (strlen(settings[i].flag) == length && strncmp(settings[i].flag, flag, length) == 0)
			return &settings[i];
	return NULL;
}

static bool
read_flags(Options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		const char *flag = argv[i] + 2;
		const char *value = NULL;
		const Setting *setting = NULL;

		if (strncmp(argv[i], "--", 2) == 0)
		{
			size_t		length = strcspn(flag, "=");

			setting = find(flag, length);
			value = flag[length] == '=' ? flag + length + 1 : NULL;
		}
		if (setting == NULL)
		{
			fprintf(stderr, "scoreboard-bridge: \"%s\" is no flag; --help lists them\n", argv[i]);
			return false;
		}
		if (value == NULL && ++i < argc)
			value = argv[i];
		if (value == NULL)
		{
			fprintf(stderr, "scoreboard-bridge: --%s wants a value\n", setting->flag);
			return false;
		}
		if (!set(options, setting, value, setting->flag))
			return false;
	}
	return true;
}

static bool
check(const Options *options)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};

	for (size_t i = 0; i < 4; i++)
		if (strcmp(options->log_level, levels[i]) == 0)
			return true;
	fprintf(stderr, "scoreboard-bridge: log-level: \"%s\" is none of debug, info, warn, error\n",
			options->log_level);
	return false;
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
			(value && value[0] && !set(options, &settings[i], value, variable)))
			return OPTIONS_BAD;
	}
	return read_flags(options, argc, argv) && check(options) ? OPTIONS_RUN : OPTIONS_BAD;
}
