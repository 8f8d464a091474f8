/*
 * trust/confinement.h - what a session has besides, kept from a function that runs in it
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_CONFINEMENT_H
#define SCOREBOARD_TRUST_CONFINEMENT_H

#include "postgres.h"

typedef struct Confinement Confinement;

/* In the memory context of the caller, where it stays until confinement_end(), which raises nothing and must be called whatever happens between. */
extern Confinement *confinement_begin(void);
extern void confinement_end(Confinement *confinement);

#endif
