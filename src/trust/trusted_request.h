/*
 * trust/trusted_request.h - what a layer like PostgREST says of the HTTP request that it carries out
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_TRUSTED_REQUEST_H
#define SCOREBOARD_TRUST_TRUSTED_REQUEST_H

#include "plain/request_headers.h"

/*
 * The variable's value (request.jwt.claims, request.method), or NULL where it
 * is empty or the session user is not on scoreboard.trusted_request_roles.
 */
extern const char *trusted_request_variable(const char *name);

/* What the request's headers say; false where there are none that are believed. */
extern bool trusted_request_headers(RequestHeaders *headers);

#endif
