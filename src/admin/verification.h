/*
 * admin/verification.h - what checks have found: a record of each board's
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_VERIFICATION_H
#define SCOREBOARD_ADMIN_VERIFICATION_H

#include "postgres.h"
#include "datatype/timestamp.h"

#define VERIFICATION_KINDS 16

/* One board's check. Findings are told apart by their text, which is a constant that JSON needs no escapes for. */
typedef struct VerificationRecord
{
	int32		board_id;
	int32		season;
	bool		nightly;
	TimestampTz began_at;
	int64		findings;
	int			kinds;
	struct
	{
		const char *finding;
		int64		count;
	}			kind[VERIFICATION_KINDS];
} VerificationRecord;

/* All with SPI connected. Where nothing can be written, nothing is recorded. */
extern VerificationRecord verification_begin(int32 board_id, int32 season, bool nightly);
extern void verification_count(VerificationRecord *record, const char *finding);
extern void verification_store(const VerificationRecord *record);

/* Boards that no nightly check has begun with since then, those first whose last one is the oldest; palloc'd. */
extern int32 *verification_due(TimestampTz night, int *count);

/* Is there one, and has the night's check begun, or may it begin? */
extern bool verification_is_due(TimestampTz night, bool may_begin);

/* What boards that are gone have left, and what is too old to tell anything. True if there may be more. */
extern bool verification_purge(void);

#endif
