/*
 * room.h - a buffer that grows to the largest text that was ever made in it
 *
 * For texts that outlive no call: one static Room each, never freed.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_ROOM_H
#define BRIDGE_ROOM_H

#include <stddef.h>
#include <stdlib.h>

typedef struct Room
{
	char	   *bytes;
	size_t		size;
} Room;

/* At least so many bytes; what stood in it is gone where they are others than before. */
static inline char *
room_for(Room *room, size_t size)
{
	if (room->bytes == NULL || size > room->size)
	{
		free(room->bytes);
		room->size = size + 16 * 1024;
		room->bytes = malloc(room->size);
		if (room->bytes == NULL)
			abort();
	}
	return room->bytes;
}

#endif
