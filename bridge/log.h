/*
 * log.h - JSON lines on standard error
 *
 * A line is {"time":…,"level":…,"msg":…, fields…}. Callers hand over typed
 * fields, never a format, so that a value can't break out of its quotes. No
 * caller may pass a token; as a second guard every text that looks like one is
 * replaced before it is written.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_LOG_H
#define BRIDGE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum LogLevel
{
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARN,
	LOG_ERROR,
	LOG_ALWAYS					/* what scripts wait for, whatever the level; says info */
} LogLevel;

typedef enum LogKind
{
	LOG_IS_TEXT,
	LOG_IS_NUMBER,
	LOG_IS_TIME					/* a number of microseconds, written in milliseconds */
} LogKind;

typedef struct LogField
{
	const char *name;			/* NULL: no field */
	const char *text;			/* NULL is written as an empty text */
	int64_t		number;
	LogKind		kind;
} LogField;

#define LOG_TEXT(name, text)	{(name), (text), 0, LOG_IS_TEXT}
#define LOG_NUMBER(name, number)	{(name), NULL, (int64_t) (number), LOG_IS_NUMBER}
#define LOG_TIME(name, us)	{(name), NULL, (int64_t) (us), LOG_IS_TIME}
/* A field that stands there only then. */
#define LOG_TEXT_IF(condition, name, text)	{(condition) ? (name) : NULL, (text), 0, LOG_IS_TEXT}
#define LOG_TIME_IF(condition, name, us)	{(condition) ? (name) : NULL, NULL, (int64_t) (us), LOG_IS_TIME}

#define log_line(level, msg, ...) \
	log_write((level), (msg), (const LogField[]) {{NULL, NULL, 0, LOG_IS_TEXT}, ##__VA_ARGS__}, \
			  sizeof((const LogField[]) {{NULL, NULL, 0, LOG_IS_TEXT}, ##__VA_ARGS__}) / sizeof(LogField))

#define log_debug(msg, ...) log_line(LOG_DEBUG, msg, ##__VA_ARGS__)
#define log_info(msg, ...) log_line(LOG_INFO, msg, ##__VA_ARGS__)
#define log_warn(msg, ...) log_line(LOG_WARN, msg, ##__VA_ARGS__)
#define log_error(msg, ...) log_line(LOG_ERROR, msg, ##__VA_ARGS__)
#define log_always(msg, ...) log_line(LOG_ALWAYS, msg, ##__VA_ARGS__)

extern void log_set_level_by_name(const char *name);
extern bool log_wants(LogLevel level);	/* else making the line is in vain */
extern void log_write(LogLevel level, const char *msg, const LogField *fields, size_t count);

/* Before the first line, unless workers are to be forked: these have it started. */
extern void log_start(void);

/* fork() where log_start() was not called: the child has a log of its own, whose lines bear the worker's number (from 1). */
extern pid_t log_fork(int worker);

/* Has what was collected written out, without waiting; once a turn of the loop. */
extern void log_flush(void);

/* Before an exit: waits for that too, for a second at most. */
extern void log_end(void);

extern uint64_t log_dropped(void);	/* lines that there was no room for, ever */

/* libwebsockets' own messages, at most so many a second. */
extern void log_library(int level, const char *line);

/* Does this text hold something of a JWT's form (eyJ….….…)? */
extern bool log_has_token(const char *text, size_t length);

#endif
