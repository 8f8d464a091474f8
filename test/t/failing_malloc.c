/*
 * failing_malloc.c - a server whose malloc fails when a test says so (093_memory.pl)
 *
 * Preloaded into the server, and loaded by it as a module: fail_after(n) lets n allocations pass, fails the next one, and lets
 * all pass again (of scoreboard and the libraries, that is); -1: none fails. failed() says whether one did. A small block comes out of what was just freed, as it does from
 * glibc: see test/unit/token_memory.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <sys/auxv.h>

#include "fmgr.h"

#define ROOM 4096
#define SMALL 512

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(fail_after);
PG_FUNCTION_INFO_V1(failed);

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

static int	countdown = -1;
static bool has_failed = false;
static size_t spare = 0;

/* PostgreSQL's own are its own matter: some of them end the session. It is known by where it begins: its name it changes itself. */
static bool
is_ours(void *caller)
{
	Dl_info		info;
	Dl_info		program;

	return dladdr(caller, &info) != 0 && dladdr((void *) getauxval(AT_ENTRY), &program) != 0 && info.dli_fbase != program.dli_fbase;
}

static bool
fails(size_t size, void *caller)
{
	if (countdown < 0 || !is_ours(caller))
		return false;
	if (size <= SMALL && size <= spare)
	{
		spare -= size;
		return false;
	}
	spare = 0;
	if (countdown-- > 0)
		return false;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t size)
{
	return fails(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return fails(count * size, __builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *block, size_t size)
{
	return fails(size, __builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}

/* Within libc it isn't seen who asks: the server copies its settings so, and ends the session where it can't. */
char *
strdup(const char *text)
{
	size_t		size = strlen(text) + 1;

	return fails(size, __builtin_return_address(0)) ? NULL : memcpy(__libc_malloc(size), text, size);
}

void
free(void *block)
{
	if (block != NULL && malloc_usable_size(block) / ROOM == 1)
		spare = ROOM;
	__libc_free(block);
}

Datum
fail_after(PG_FUNCTION_ARGS)
{
	countdown = PG_GETARG_INT32(0);
	spare = 0;
	if (countdown >= 0)
		has_failed = false;
	PG_RETURN_VOID();
}

Datum
failed(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_failed);
}
