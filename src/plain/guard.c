/*
 * plain/guard.c - want of memory, noticed on behalf of libraries that don't look
 *
 * jansson 2.14 goes on where its buffer can't grow: a text loses a character, or its closing
 * quote, and what follows in memory is read. cjose 0.6.2.1 writes to address 0. So for the
 * time of a run both allocate through functions that never return NULL:
 * they leave the run by longjmp instead. Frames of jansson and cjose hold nothing but memory of that kind then, and
 * OpenSSL, which checks by itself, is not on the stack.
 *
 * Outside of runs the libraries have the functions that they had before, which are also
 * those that allocate for us: others in this process may have set them.
 *
 * Owns a table of the blocks that the run at hand holds; those beyond its end would leak where memory runs out. One thread only.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/guard.h"

#include <errno.h>
#include <setjmp.h>
#include <stddef.h>

#include <cjose/util.h>
#include <jansson.h>
#include <openssl/crypto.h>

#define BLOCKS 1024

const char	guard_no_memory[] = "out of memory";

static struct
{
	jmp_buf		out;
	void	   *blocks[BLOCKS];
	int			count;
	json_malloc_t json_malloc;	/* what the libraries had before */
	json_free_t json_free;
	cjose_alloc_fn_t cjose_malloc;
	cjose_realloc_fn_t cjose_realloc;
	cjose_dealloc_fn_t cjose_free;
}			run;

static void *
keep(void *block)
{
	if (block == NULL)
		longjmp(run.out, 1);
	if (run.count < BLOCKS)
		run.blocks[run.count++] = block;
	return block;
}

/* What was allocated last is mostly freed first. */
static void
forget(const void *block)
{
	for (int i = run.count - 1; i >= 0; i--)
		if (run.blocks[i] == block)
		{
			run.blocks[i] = run.blocks[--run.count];
			return;
		}
}

static void *
guarded_malloc(size_t size)
{
	return keep(run.json_malloc(size > 0 ? size : 1));
}

static void
guarded_free(void *block)
{
	forget(block);
	run.json_free(block);
}

/* cjose asks for it nowhere on our way. */
static void *
guarded_realloc(void *block, size_t size)
{
	(void) block;
	(void) size;
	longjmp(run.out, 1);
}

/* OpenSSL's functions, which cjose sets as well, can't be set any more once it has allocated something. */
static void
begin(void)
{
	static bool settled = false;

	if (!settled)
	{
		void	   *something = OPENSSL_malloc(1);

		settled = something != NULL;
		OPENSSL_free(something);
	}
	run.count = 0;
	json_get_alloc_funcs(&run.json_malloc, &run.json_free);
	run.cjose_malloc = cjose_get_alloc();
	run.cjose_realloc = cjose_get_realloc();
	run.cjose_free = cjose_get_dealloc();
	cjose_set_alloc_funcs(guarded_malloc, guarded_realloc, guarded_free);	/* jansson's, too */
	errno = 0;
}

static void
end(void)
{
	int			was = errno;

	cjose_set_alloc_funcs(run.cjose_malloc, run.cjose_realloc, run.cjose_free);
	json_set_alloc_funcs(run.json_malloc, run.json_free);
	errno = was;
}

bool
guard_run(void (*work) (void *argument), void *argument)
{
	begin();
	if (setjmp(run.out) == 0)
	{
		work(argument);
		end();
		return true;
	}
	while (run.count > 0)
		run.json_free(run.blocks[--run.count]);
	end();
	return false;
}
