/*
 * admin/keys.c - secrets for signing keys
 *
 * The rest of their administration is SQL, in sql/scoreboard--1.0.sql.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(scoreboard_random_secret);

#define SECRET_BYTES 32

/* 64 lower-case hex characters; these characters are the HMAC key. */
Datum
scoreboard_random_secret(PG_FUNCTION_ARGS)
{
	uint8		bytes[SECRET_BYTES];
	char		hex[2 * SECRET_BYTES + 1];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a secret"),
				 errhint("The system's source of random numbers failed.")));
	for (int i = 0; i < SECRET_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}
