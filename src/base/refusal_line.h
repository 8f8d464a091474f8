/*
 * base/refusal_line.h - a refused increment: what is kept of it, and its line in the server's log
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_REFUSAL_LINE_H
#define SCOREBOARD_BASE_REFUSAL_LINE_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "scoreboard.h"
#include "base/refusal.h"

#define REFUSAL_TEXT_SIZE 256	/* bytes kept of an id */
#define REFUSAL_ADDRESS_SIZE 46 /* the longest IPv6 address */

/* Texts are empty where they were not given. */
typedef struct RefusalNote
{
	RefusalCode code;
	TimestampTz refused_at;
	int64		repeats;		/* the same, from the same, after it */
	int64		dropped;		/* of its database, before it */
	char		user_id[REFUSAL_TEXT_SIZE];
	char		board[SCOREBOARD_NAME_MAX + 1];
	char		action_type[SCOREBOARD_NAME_MAX + 1];
	char		action_id[REFUSAL_TEXT_SIZE];
	char		key_id[SCOREBOARD_NAME_MAX + 1];
	char		request_id[REFUSAL_TEXT_SIZE];
	char		message[REFUSAL_MESSAGE_MAX];
	char		flag[REFUSAL_MESSAGE_MAX];	/* why the player is to be flagged */
	char		client_address[REFUSAL_ADDRESS_SIZE];
} RefusalNote;

/* Its line; unsaid: how many before it have none. */
extern void refusal_line_say(const RefusalNote *note, int64 unsaid);

#endif
