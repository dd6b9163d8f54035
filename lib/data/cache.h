/*
 * memcached, read-through, safe under races: leases with random ids, tombstones, generations, shared multi-gets, own
 * circuit breaker. libmemcached runs in two service fibers a server (look-ups; writes), so a slow server never stops
 * the loop, nor the others.
 */
#ifndef HOB_DATA_CACHE_H
#define HOB_DATA_CACHE_H

#include "base/config.h"
#include "data/cache_shared.h"
#include "hob.h"
#include "run/offload.h"
#include "run/task.h"

typedef struct hob_cache hob_cache;

#define HOB_CACHE_COUNTERS(X)                                                                                          \
    X(lookups, "keys asked for")                                                                                       \
    X(multigets, "multi-gets sent")                                                                                    \
    X(hits, "values found")                                                                                            \
    X(misses, "values not found")                                                                                      \
    X(leases, "leases won")                                                                                            \
    X(fills, "values kept")                                                                                            \
    X(voided, "fills given up: something came in between")                                                             \
    X(foreign, "values refused: damaged, or of another key")                                                           \
    X(tombstones, "tombstones set")                                                                                    \
    X(deletes, "deletes done")                                                                                         \
    X(failures, "operations that failed or timed out")                                                                 \
    X(skipped, "operations not tried: the breaker is open, or an invalidation is owed")                                \
    X(absences, "of the hits: that there is none")                                                                     \
    X(outdated, "values refused: something they depend on was written to")                                             \
    X(flushes, "servers flushed for a worker that died owing invalidations")
typedef struct hob_cache_counters {
#define HOB_CACHE_COUNTER(name, help) uint64_t name;
    HOB_CACHE_COUNTERS(HOB_CACHE_COUNTER)
#undef HOB_CACHE_COUNTER
} hob_cache_counters;

/* config->cache must be set. shared: of all workers of the service, of which this is the one in `slot`; NULL: there are
 * no others. NULL with one line in error: a bad server list, or no memory. Servers' names are resolved in the
 * background; till then all is a miss. With config->on_demand nothing is resolved or connected before the first use,
 * which then waits for the names. */
hob_cache *hob__cache_new(hob_loop *loop, hob_offload_pool *offload, const hob_config *config, const char *prefix,
                          hob_cache_shared *shared, size_t slot, char error[256]) HOB_MUST_CHECK;
/* From a task, or outside of the loop, which it then turns. Queued writes are finished for at most the timeout, the
 * rest is dropped; no task may be waiting. */
void hob__cache_free(hob_cache *cache);
bool hob__cache_up(const hob_cache *cache);              /* a server answers, as far as is known without asking */
bool hob__cache_reach(hob_cache *cache, hob_task *task); /* the same; on demand it connects first, to know */
const hob_cache_counters *hob__cache_counters(const hob_cache *cache);
bool hob__cache_key_good(hob_text key); /* 1-200 bytes, printable ASCII without blanks, not beginning with "g:" */

#define HOB_CACHE_ENTITIES_MAX 16

typedef struct hob_cache_lease {
    uint64_t id; /* 0: none; load, and keep nothing */
    size_t count;
    uint64_t generations[HOB_CACHE_ENTITIES_MAX]; /* of the entities, from before the load */
} hob_cache_lease;

typedef enum hob_cache_result {
    HOB_CACHE_HIT,    /* *value is a copy in the task's arena */
    HOB_CACHE_ABSENT, /* the same, kept with hob__cache_fill_absent */
    HOB_CACHE_FILL,   /* load, then hob__cache_fill with the lease, or hob__cache_give_up */
    HOB_CACHE_LOAD,   /* load and keep nothing: a tombstone, an unreachable server, a lease holder that took too long */
    HOB_CACHE_GONE    /* the task was cancelled or its deadline passed */
} hob_cache_result;

/* Look-ups of one loop turn leave as one multi-get to each server. Waits briefly for another's lease. A value is a hit
 * only while none of the entities it depends on (at most HOB_CACHE_ENTITIES_MAX, good keys) has been written to since
 * it was loaded. */
hob_cache_result hob__cache_get(hob_cache *cache, hob_task *task, hob_text key, const hob_text *entities, size_t count,
                                hob_text *value, hob_cache_lease *lease) HOB_MUST_CHECK;
/* All return at once; the work is done behind the answer. The value is copied. ttl in ns, jittered here. */
void hob__cache_fill(hob_cache *cache, hob_text key, hob_cache_lease lease, hob_text value, int64_t ttl);
void hob__cache_fill_absent(hob_cache *cache, hob_text key, hob_cache_lease lease, hob_text value, int64_t ttl);
void hob__cache_give_up(hob_cache *cache, hob_text key, hob_cache_lease lease);

/* A write, by an id of its own, to what key stands for: the value under it and all that depends on it.
 *
 * Before it can be committed, the tombstone: waits until it stands (true), or could not be set (false: logged, counted,
 * and no worker uses that server until it does). Behind it, the delete: waits until nothing older than the write can
 * be read any more. Tombstones of other writers stay: each stands until its own writer's delete, in whatever order
 * they come, or until it expires. */
uint64_t hob__cache_new_write_id(void); /* tells when it was made; never 0 */
bool hob__cache_tombstone(hob_cache *cache, hob_task *task, hob_text key, uint64_t id);
void hob__cache_delete(hob_cache *cache, hob_task *task, hob_text key, uint64_t id);

#endif
