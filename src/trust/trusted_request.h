/*
 * trust/trusted_request.h - what a layer like PostgREST says of the HTTP request that it carries out
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_TRUSTED_REQUEST_H
#define SCOREBOARD_TRUST_TRUSTED_REQUEST_H

/*
 * The variable's value (request.jwt.claims, request.method), or NULL where it
 * is empty or the session user is not on scoreboard.trusted_request_roles.
 */
extern const char *trusted_request_variable(const char *name);

#endif
