/*
 * checks.h - what a setting's text must be like
 *
 * Each says whether the value will do, and if not, what is wrong with it or
 * what is wanted; never a word of a secret that may stand in it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_CHECKS_H
#define BRIDGE_CHECKS_H

#include <stdbool.h>
#include <stddef.h>

/* A connection string or URI, and not the mere name of a database, as for psql? */
extern bool check_is_conninfo(const char *database);

extern bool check_cookie(const char *value, char *reason, size_t size);
extern bool check_database(const char *value, char *reason, size_t size);
extern bool check_directory(const char *value, char *reason, size_t size);
extern bool check_level(const char *value, char *reason, size_t size);
extern bool check_origins(const char *value, char *reason, size_t size);

/* How many letters must be changed, put in or left out to make one of the other; 99 where it is far. */
extern int	check_distance(const char *one, const char *other);

#endif
