/*
 * query.h - the parameters of a URL
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_QUERY_H
#define BRIDGE_QUERY_H

#include "exchange.h"

/*
 * name=value&name=value into exchange->parameters, decoded (and + a blank, as
 * browsers write it). False with the problem set where one is empty, has a
 * control character once it is decoded, or where there are more than
 * PARAMETERS_MAX. An absent or empty query has none.
 */
extern bool query_read(Slice query, Exchange *exchange, Problem *problem);

/*
 * The items of a parameter that is a list: split at commas first and decoded afterwards, so that an encoded comma
 * belongs to its item. They point into *text, to be freed, whatever comes back: how many there are, 0 where there is no such
 * parameter, -1 where one is empty or has a control character, or where there are more than `most`.
 */
extern int query_list(Slice query, const char *name, const char **items, int most, char **text);

/* Decodes in place what was percent-encoded; false: a control character comes out. h1.c has checked the digits. */
extern bool query_decode(char *text, bool plus);

#endif
