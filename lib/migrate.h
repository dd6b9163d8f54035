/* The database as the command line sees it, outside of any worker: libpq, blocking. */
#ifndef HOB_MIGRATE_H
#define HOB_MIGRATE_H

#include "base/config.h"

/* Applies the directory's *.sql in the order of their names, each once and in a transaction of its own, recorded in the
 * table hob_migrations. Says on stdout what it does, on stderr what fails; false then. Runs at the same time wait for
 * each other. */
bool hob__migrate(const hob_config *config, const char *directory) HOB_MUST_CHECK;

/* Whether it can be reached, and takes as many connections as all workers may open, twice over: a reload overlaps.
 * false: one line in error. */
bool hob__database_check(const hob_config *config, char error[256]) HOB_MUST_CHECK;

#endif
