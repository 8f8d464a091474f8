/*
 * contracts.h - openapi.json and asyncapi.json, as they are compiled in
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_CONTRACTS_H
#define BRIDGE_CONTRACTS_H

#include <stddef.h>

typedef struct Contract
{
	const char *path;			/* under which it is served */
	const char *text;
	size_t		length;
} Contract;

#define CONTRACTS 2

extern Contract contract(int number);	/* from 0 */

#endif
