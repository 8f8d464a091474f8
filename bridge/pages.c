/*
 * pages.c - what is served as it stands, from memory: the contracts, the live page's few files
 *
 * The contracts are compiled in. The page is read once at the start from --www:
 * regular files with a known ending, no directories. A path is looked up by its
 * literal name, so nothing outside of the directory can be asked for. A file
 * that can't be read ends the start.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "pages.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "contracts.h"
#include "log.h"

#define PAGES_MAX 64
#define PAGE_BYTES (4 * 1024 * 1024)

static const char page_headers[] =
"Cache-Control: no-cache\r\n"
"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; "
"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
"Referrer-Policy: no-referrer\r\n";

static const struct
{
	const char *ending;
	const char *type;
}			types[] = {
	{".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"},
	{".mjs", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
	{".json", "application/json"}, {".svg", "image/svg+xml"}, {".png", "image/png"},
	{".ico", "image/x-icon"}, {".woff2", "font/woff2"}, {".txt", "text/plain; charset=utf-8"},
};

typedef struct Page
{
	char		path[256];		/* with the slash */
	const char *type;
	char		tag[20];
	const char *body;
	size_t		length;
	char	   *read;			/* the body, where it was read from a file */
} Page;

typedef struct Pages
{
	int			count;
	Page		page[PAGES_MAX];
} Pages;

static const char *
type_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && dot != name && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(dot, types[i].ending) == 0)
			return types[i].type;
	return NULL;
}

static void
set_body(Page *page, const char *body, size_t length)
{
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	page->body = body;
	page->length = length;
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) body[i]) * UINT64_C(0x100000001b3);
	snprintf(page->tag, sizeof(page->tag), "\"%016llx\"", (unsigned long long) hash);
}

static bool
read_page(Page *page, const char *file, size_t size)
{
	FILE	   *in = fopen(file, "rb");
	bool		fine;

	page->read = malloc(size + 1);
	fine = in && page->read && fread(page->read, 1, size, in) == size;
	if (in)
		fclose(in);
	if (fine)
		set_body(page, page->read, size);
	return fine;
}

/* Takes in one entry of the directory; false only where it should have been readable. */
static bool
take_file(Pages *pages, const char *directory, const char *name)
{
	Page	   *page = &pages->page[pages->count];
	char		file[4096];
	struct stat info;

	if (type_of(name) == NULL || strlen(name) + 2 > sizeof(page->path) || pages->count == PAGES_MAX)
		return true;
	snprintf(file, sizeof(file), "%s/%s", directory, name);
	if (stat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > PAGE_BYTES)
		return true;
	snprintf(page->path, sizeof(page->path), "/%s", name);
	page->type = type_of(name);
	if (!read_page(page, file, (size_t) info.st_size))
	{
		log_error("page not read", LOG_TEXT("file", file), LOG_TEXT("reason", strerror(errno)),
				  LOG_TEXT("advice", "the bridge does not start without it: make it readable, or take it out of --www"));
		free(page->read);
		return false;
	}
	pages->count++;
	return true;
}

/* First, so that no file of the directory stands in for them. */
static void
take_contracts(Pages *pages)
{
	for (int i = 0; i < CONTRACTS; i++)
	{
		Page	   *page = &pages->page[pages->count++];
		Contract	one = contract(i);

		snprintf(page->path, sizeof(page->path), "%s", one.path);
		page->type = type_of(one.path);
		set_body(page, one.text, one.length);
	}
}

bool
pages_start(Bridge *bridge)
{
	const char *directory = bridge->options.www;
	DIR		   *dir;
	struct dirent *entry;
	bool		fine = true;

	bridge->pages = calloc(1, sizeof(Pages));
	if (bridge->pages == NULL)
		abort();
	take_contracts(bridge->pages);
	if (directory[0] == '\0')
		return true;
	dir = opendir(directory);
	if (dir == NULL)
	{
		log_error("directory of pages not read", LOG_TEXT("directory", directory), LOG_TEXT("reason", strerror(errno)),
				  LOG_TEXT("advice", "the bridge does not start without it: mend --www, or leave it out"));
		return false;
	}
	while (fine && (entry = readdir(dir)) != NULL)
		fine = take_file(bridge->pages, directory, entry->d_name);
	closedir(dir);
	log_info("pages", LOG_NUMBER("files", bridge->pages->count - CONTRACTS));
	return fine;
}

void
pages_free(Bridge *bridge)
{
	if (bridge->pages == NULL)
		return;
	for (int i = 0; i < bridge->pages->count; i++)
		free(bridge->pages->page[i].read);
	free(bridge->pages);
	bridge->pages = NULL;
}

static const Page *
find(const Exchange *exchange)
{
	const Pages *pages = client_bridge(exchange->client)->pages;
	const char *path = strcmp(exchange->path, "/") == 0 ? "/index.html" : exchange->path;

	for (int i = 0; i < pages->count; i++)
		if (strcmp(pages->page[i].path, path) == 0)
			return &pages->page[i];
	return NULL;
}

bool
pages_have(const Exchange *exchange)
{
	return find(exchange) != NULL;
}

void
pages_answer(Exchange *exchange)
{
	const Page *page = find(exchange);
	char		headers[sizeof(page_headers) + 40];
	Answer		answer = {304, NULL, NULL, 0, headers, false};

	snprintf(headers, sizeof(headers), "ETag: %s\r\n%s", page->tag, page_headers);
	if (!exchange_tag_matches(exchange, page->tag))
	{
		answer.status = 200;
		answer.type = page->type;
		answer.body = page->body;
		answer.length = page->length;
	}
	exchange_answer(exchange, &answer);
}
