/*
 * plain/text_arena.h - room for texts that the caller allocates beforehand
 *
 * The plain C files put their results here, since they may neither call the
 * server's allocator nor hand out memory that an error of the server's would leak.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_TEXT_ARENA_H
#define SCOREBOARD_PLAIN_TEXT_ARENA_H

#include <stddef.h>
#include <string.h>

typedef struct TextArena
{
	char	   *data;
	size_t		size;
	size_t		used;
} TextArena;

/* A copy with a NUL behind it, or NULL where the arena is full; nothing is freed singly. */
static inline char *
text_arena_copy(TextArena *arena, const char *text, size_t length)
{
	char	   *copy;

	if (length >= arena->size - arena->used)
		return NULL;
	copy = arena->data + arena->used;
	memcpy(copy, text, length);
	copy[length] = '\0';
	arena->used += length + 1;
	return copy;
}

#endif
