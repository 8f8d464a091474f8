/*
 * checks.c - what a setting's text must be like
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "checks.h"

#define WORD_MAX 48
#define FAR 99

/* libpq quotes the piece that it stumbled over, which may be of a password. Names of options are none. */
static void
without_secrets(const char *message, char *reason, size_t size)
{
	const char *first = strchr(message, '"');
	const char *last = strrchr(message, '"');
	size_t		length = strcspn(message, "\n");

	/* What it expected is quoted too, and a single character. */
	while (first && first < last && first[1] && first[2] == '"')
		first = strchr(first + 3, '"');
	if (first == NULL || first >= last || strncmp(message, "invalid connection option", 25) == 0)
		snprintf(reason, size, "%.*s", (int) length, message);
	else
		snprintf(reason, size, "%.*s...%.*s", (int) (first - message + 1), message,
				 (int) strcspn(last, "\n"), last);
}

bool
check_is_conninfo(const char *database)
{
	return strchr(database, '=') || strstr(database, "://");
}

bool
check_database(const char *value, char *reason, size_t size)
{
	char	   *message = NULL;
	PQconninfoOption *options;

	if (!check_is_conninfo(value))
		return true;
	options = PQconninfoParse(value, &message);
	if (options == NULL)
		without_secrets(message ? message : "out of memory", reason, size);
	PQconninfoFree(options);
	PQfreemem(message);
	return options != NULL;
}

bool
check_directory(const char *value, char *reason, size_t size)
{
	DIR		   *dir = value[0] ? opendir(value) : NULL;

	if (value[0] == '\0')
		return true;
	if (dir == NULL || access(value, R_OK | X_OK) != 0)
		snprintf(reason, size, "a directory that can be read is wanted (%s)", strerror(errno));
	else
		reason[0] = '\0';
	if (dir)
		closedir(dir);
	return reason[0] == '\0';
}

bool
check_level(const char *value, char *reason, size_t size)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};

	for (size_t i = 0; i < 4; i++)
		if (strcmp(value, levels[i]) == 0)
			return true;
	snprintf(reason, size, "one of debug, info, warn, error is wanted");
	return false;
}

/* scheme://host or scheme://host:port, as a browser writes it: no path, and no port that the scheme implies. */
static bool
is_origin(const char *text, size_t length)
{
	size_t		scheme = strncasecmp(text, "https://", 8) == 0 ? 8 : strncasecmp(text, "http://", 7) == 0 ? 7 : 0;
	const char *implied = scheme == 8 ? ":443" : ":80";
	const char *host = text + scheme;
	size_t		name;
	size_t		digits;

	if (scheme == 0 || length <= scheme || length > 255)
		return false;
	length -= scheme;
	name = host[0] == '[' ? 1 + strspn(host + 1, "0123456789abcdefABCDEF:.") + 1 : strcspn(host, ":/?#@\\[]* \t\",");
	if (name > length || (host[0] == '[' && (name < 4 || host[name - 1] != ']')) || name == 0)
		return false;
	for (size_t i = 0; i < name; i++)
		if (host[i] <= 0x20 || host[i] >= 0x7f)
			return false;
	if (name == length)
		return true;
	digits = strspn(host + name + 1, "0123456789");
	return host[name] == ':' && digits >= 1 && digits <= 5 && name + 1 + digits == length &&
		!(length - name == strlen(implied) && strncmp(host + name, implied, length - name) == 0);
}

/* A token as RFC 6265 has it for a cookie's name. */
bool
check_cookie(const char *value, char *reason, size_t size)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";

	if (value[strspn(value, allowed)] == '\0')
		return true;
	snprintf(reason, size, "\"%s\" is no cookie's name: letters, digits and !#$%%&'*+-.^_`|~ are wanted", value);
	return false;
}

bool
check_origins(const char *value, char *reason, size_t size)
{
	for (const char *p = value; value[0]; p++)
	{
		size_t		length = strcspn(p, ",");

		if (!(length == 1 && *p == '*') && !is_origin(p, length))
		{
			snprintf(reason, size, "\"%.*s\" is no origin: https://name or https://name:port is wanted, "
					 "without a path, without 443 (or http's 80), with nothing but a comma between two; * is any",
					 (int) length, p);
			return false;
		}
		p += length;
		if (*p == '\0')
			break;
	}
	return true;
}

int
check_distance(const char *one, const char *other)
{
	int			row[WORD_MAX + 1];
	size_t		width = strlen(other);

	if (width > WORD_MAX || strlen(one) > WORD_MAX)
		return FAR;
	for (size_t i = 0; i <= width; i++)
		row[i] = (int) i;
	for (; *one; one++)
	{
		int			corner = row[0]++;

		for (size_t i = 1; i <= width; i++)
		{
			int			best = corner + (*one != other[i - 1]);

			if (row[i] + 1 < best)
				best = row[i] + 1;
			if (row[i - 1] + 1 < best)
				best = row[i - 1] + 1;
			corner = row[i];
			row[i] = best;
		}
	}
	return row[width];
}
