/*
 * credential.c - what a stream's request shows of who asks, and whom that stands for
 *
 * A browser can give a WebSocket or an EventSource no header of its own. So a
 * token may come by a ticket that was bought with it (a token never stands in
 * a URL), or by a cookie: that one every page of the world makes the browser
 * send, and so it counts only beside an Origin that is ours or listed by name.
 *
 * Whether any of it is good the database decides. Owns no state.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "credential.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define TICKET_MAX 64			/* ours have 22 characters */

/* The token's end is the stream's: the second in which it has surely passed. */
#define COLUMNS "user_id, ceil(extract(epoch FROM expires_at))::bigint, to_json(permissions), pass"
#define AUTHENTICATE "SELECT " COLUMNS " FROM scoreboard.authenticate($1)"
#define REDEEM "SELECT " COLUMNS " FROM scoreboard.redeem_ticket($1)"

/* ---- reading ---- */

static bool
take(Credential *credential, CredentialKind kind, Slice text, Problem *problem)
{
	if (credential->kind != CREDENTIAL_NONE)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Give a token or a ticket, and give it once.");
	credential->kind = kind;
	/* What is too long is none that anybody knows. */
	if (!h1_copy(text, credential->text, kind == CREDENTIAL_TICKET ? TICKET_MAX : sizeof(credential->text)))
		credential->text[0] = '\0';
	return true;
}

static Slice
slice_of(const char *text)
{
	return (Slice) {text, strlen(text)};
}

/* The elements of the subprotocols' list that begin with "ticket.". */
static bool
read_subprotocols(const H1Head *head, Credential *credential, Problem *problem)
{
	static const char prefix[] = "ticket.";
	size_t		length = sizeof(prefix) - 1;
	H1List		list = {head, "sec-websocket-protocol", 0, {NULL, 0}};
	Slice		element;

	while (h1_list_next(&list, &element))
		if (element.length >= length && memcmp(element.at, prefix, length) == 0 &&
			!take(credential, CREDENTIAL_TICKET, (Slice) {element.at + length, element.length - length}, problem))
			return false;
	return true;
}

/* name=value of a Cookie header (RFC 6265, section 4.2.1); a name that is there twice can be understood in two ways. */
static bool
read_cookie(const Exchange *exchange, const char *name, Credential *credential, Problem *problem)
{
	bool		several;
	const H1Field *field = h1_field(exchange->head, "cookie", &several);
	size_t		length = strlen(name);
	Slice		rest = field ? field->value : (Slice) {"", 0};

	if (several)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Cookie is given twice.");
	while (rest.length > 0)
	{
		const char *semicolon = memchr(rest.at, ';', rest.length);
		size_t		size = semicolon ? (size_t) (semicolon - rest.at) : rest.length;

		if (size > length && memcmp(rest.at, name, length) == 0 && rest.at[length] == '=' &&
			!take(credential, CREDENTIAL_TOKEN, (Slice) {rest.at + length + 1, size - length - 1}, problem))
			return false;
		size += semicolon != NULL;
		rest = (Slice) {rest.at + size, rest.length - size};
		while (rest.length > 0 && rest.at[0] == ' ')
			rest = (Slice) {rest.at + 1, rest.length - 1};
	}
	return true;
}

bool
credential_read(const Exchange *exchange, Credential *credential, Problem *problem)
{
	const char *cookie = client_bridge(exchange->client)->options.cookie;
	const char *ticket = exchange_parameter(exchange, "ticket");

	credential->kind = CREDENTIAL_NONE;
	if (exchange->token)
		take(credential, CREDENTIAL_TOKEN, slice_of(exchange->token), problem);
	if (ticket && !take(credential, CREDENTIAL_TICKET, slice_of(ticket), problem))
		return false;
	if (!read_subprotocols(exchange->head, credential, problem))
		return false;
	/* What is shown on purpose goes before what the browser sends by itself. */
	if (credential->kind != CREDENTIAL_NONE || cookie[0] == '\0' || !exchange->origin_named)
		return true;
	return read_cookie(exchange, cookie, credential, problem);
}

/* ---- asking ---- */

bool
credential_ask(Exchange *exchange, const Credential *credential, PgCallback callback, void *data)
{
	return exchange_ask(exchange, &(Question) {credential->kind == CREDENTIAL_TICKET ? REDEEM : AUTHENTICATE, 1, {credential->text}}, callback, data);
}

/* From ["vip","beta"]; an empty list where it is something else. */
static char *
permissions_of(const char *text)
{
	json_t	   *list = json_loads(text, 0, NULL);
	char	   *permissions = calloc(1, strlen(text) + 2);
	char	   *at = permissions;

	for (size_t i = 0; permissions && i < json_array_size(list); i++)
	{
		const char *one = json_string_value(json_array_get(list, i));

		if (one && *one)
			at = stpcpy(at, one) + 1;
	}
	json_decref(list);
	return permissions;
}

Identity *
identity_of(const PGresult *result)
{
	Identity   *identity = calloc(1, sizeof(*identity));

	if (identity == NULL || PQntuples(result) != 1 || PQnfields(result) != 4)
	{
		free(identity);
		return NULL;
	}
	identity->user_id = strdup(PQgetvalue(result, 0, 0));
	identity->expires_at = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	identity->permissions = permissions_of(PQgetvalue(result, 0, 2));
	identity->pass = strdup(PQgetvalue(result, 0, 3));
	if (identity->user_id && identity->permissions && identity->pass)
		return identity;
	identity_free(identity);
	return NULL;
}

void
identity_free(Identity *identity)
{
	if (identity == NULL)
		return;
	free(identity->user_id);
	free(identity->permissions);
	free(identity->pass);
	free(identity);
}

bool
identity_may(const Identity *identity, const char *permission)
{
	for (const char *one = identity->permissions; *one; one += strlen(one) + 1)
		if (strcmp(one, permission) == 0)
			return true;
	return false;
}
