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
extern uint64_t random_seed(void);
extern void random_forget(void);	/* after a fork: what has been fetched is the parent's */

/*
 * The next pause of a back-off in ms: *pause is doubled from `first` (it is 0 at
 * the beginning) up to `most`, and a random part of at most half is cut off, so
 * that many who failed together don't come again together.
 */
extern int64_t random_pause(int64_t *pause, int64_t first, int64_t most);

extern void random_id(char *text);	/* 32 hexadecimal digits and the end: RANDOM_ID_SIZE bytes */

#endif
