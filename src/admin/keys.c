/*
 * admin/keys.c - secrets for keys
 *
 * The rest of the administration of signing keys is SQL, in sql/scoreboard--1.0.sql.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "admin/keys.h"

PG_FUNCTION_INFO_V1(scoreboard_random_secret);

void
keys_random_secret(char hex[SECRET_DIGITS + 1])
{
	uint8		bytes[SECRET_DIGITS / 2];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a secret"),
				 errhint("The system's source of random numbers failed.")));
	for (int i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

Datum
scoreboard_random_secret(PG_FUNCTION_ARGS)
{
	char		hex[SECRET_DIGITS + 1];

	keys_random_secret(hex);
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}
