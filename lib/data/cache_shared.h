/*
 * What all workers of a service tell each other about its memcached servers: whether one has missed an invalidation.
 * Plain atomics without pointers: zeroed memory is a good start, and it may be shared between processes of the same
 * program. While anything is owed to a server no worker uses it.
 *
 * A debt is a worker's own (a bit of its slot; it knows the keys and works them off) or orphaned (its worker died or
 * ran out of memory; nobody knows the keys, and whoever comes next flushes the server).
 */
#ifndef HOB_DATA_CACHE_SHARED_H
#define HOB_DATA_CACHE_SHARED_H

#include <stdatomic.h>

#include "hob.h"
#include "run/owner.h"

#define HOB_CACHE_SHARED_SLOTS 512 /* workers */
#define HOB_CACHE_SHARED_SERVERS                                                                                       \
    64 /* that were ever configured: 32, and room for other lists, as a rolling change of the settings brings them */

/* A debt is entered before its write can be committed, and readers look before they ask and after they were answered.
 * One that is orphaned is counted before its bit goes, so look at the bits first: hob__cache_debts_any. */
typedef struct hob_cache_debts {
    _Atomic uint64_t server; /* a hash of its name; 0: nobody's record */
    _Atomic uint64_t owed_by[HOB_CACHE_SHARED_SLOTS / 64];
    _Atomic uint64_t orphaned; /* how many ever */
    _Atomic uint64_t flushed;  /* how many of these a flush has made good */
    _Atomic int64_t flushing;  /* since when (monotonic ns) a worker is at it; 0: none is */
} hob_cache_debts;

typedef struct hob_cache_shared {
    _Atomic hob_owner owners[HOB_CACHE_SHARED_SLOTS]; /* 0: nobody's slot */
    hob_cache_debts servers[HOB_CACHE_SHARED_SERVERS];
} hob_cache_shared;

/* By the one who takes the slot, before it uses the cache: what the slot's last worker still owed is orphaned. */
void hob__cache_shared_claim(hob_cache_shared *shared, size_t slot, pid_t pid);
/* Orphans what workers owe that are dead by now. */
void hob__cache_shared_bury(hob_cache_shared *shared, hob_cache_debts *debts);
/* The record of a server; NULL: there have been too many. */
hob_cache_debts *hob__cache_shared_server(hob_cache_shared *shared, const char *host, unsigned port) HOB_MUST_CHECK;

bool hob__cache_debts_any(const hob_cache_debts *debts);
void hob__cache_debts_enter(hob_cache_debts *debts, size_t slot);  /* any number of times */
void hob__cache_debts_clear(hob_cache_debts *debts, size_t slot);  /* the worker has made all its own good */
void hob__cache_debts_orphan(hob_cache_debts *debts, size_t slot); /* it does not know its own any more */

/* The right to flush the server, for one worker at a time; one that does not come back within `patience` loses it.
 * 0: nothing is orphaned, or somebody else is at it. */
uint64_t hob__cache_debts_claim(hob_cache_debts *debts, int64_t now, int64_t patience) HOB_MUST_CHECK;
/* The end of the try: claim is what the claim returned when the flush succeeded, else 0. */
void hob__cache_debts_settle(hob_cache_debts *debts, uint64_t claim);

#endif
