/*
 * random.h - numbers and ids that nobody can guess
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_RANDOM_H
#define BRIDGE_RANDOM_H

#include <stdint.h>

#define RANDOM_ID_SIZE 33

extern uint32_t random_number(void);
extern void random_id(char *text);	/* 32 hexadecimal digits and the end: RANDOM_ID_SIZE bytes */

#endif
