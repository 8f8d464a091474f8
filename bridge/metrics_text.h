/*
 * metrics_text.h - the numbers as Prometheus reads them
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_METRICS_TEXT_H
#define BRIDGE_METRICS_TEXT_H

#include <stdio.h>

#include "client.h"

extern void metrics_begin(Client *client);	/* makes it the client of a scraper; listener.c's last step */

/* The two lines before a metric's values. */
extern void metrics_head(FILE *out, const char *name, const char *type, const char *help);

#endif
