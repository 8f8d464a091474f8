/*
 * plain/guard.h - want of memory, noticed on behalf of libraries that don't look
 *
 * Plain C, no server: see test/unit/token_memory.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_GUARD_H
#define SCOREBOARD_PLAIN_GUARD_H

#include <stdbool.h>

/*
 * What a function that says what is wrong says where there was no memory to find out. Callers compare the
 * pointer: it is nobody's token's fault, and to be answered otherwise.
 */
extern const char guard_no_memory[];

/*
 * Runs work(argument), which may call jansson, cjose and OpenSSL, and nothing else that allocates. False: they got no
 * memory, work did not return, and what they had allocated in it is freed. Must not be nested. errno is 0 when
 * work begins; where it ends as ENOMEM, OpenSSL had too little: it doesn't allocate through here.
 */
extern bool guard_run(void (*work) (void *argument), void *argument);

#endif
