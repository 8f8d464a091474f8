/*
 * smoke.h - looks whether a bridge that has been deployed works
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SMOKE_H
#define BRIDGE_SMOKE_H

#include "options.h"

/* Prints a line a check on standard output; the exit status: 0, 1 where a check has failed, 2 where the settings won't do. */
extern int	smoke(const Options *options);

#endif
