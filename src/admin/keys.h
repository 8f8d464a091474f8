/*
 * admin/keys.h - secrets for keys
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_KEYS_H
#define SCOREBOARD_ADMIN_KEYS_H

#include "postgres.h"

#define SECRET_DIGITS 64

/* 64 lower-case hex characters of the strong random source; these characters are the HMAC key. */
extern void keys_random_secret(char hex[SECRET_DIGITS + 1]);

#endif
