/* A bounded pool of threads for work that can only block; reports to the loop through an eventfd. */
#ifndef HOB_RUN_OFFLOAD_H
#define HOB_RUN_OFFLOAD_H

#include "run/task.h"

typedef struct hob_offload_pool hob_offload_pool;

#define HOB_OFFLOAD_QUEUE 256 /* jobs waiting for a thread; beyond, offloading is refused */

/* Threads start when they are first needed, with all signals blocked. */
hob_offload_pool *hob__offload_new(hob_loop *loop, size_t max_threads) HOB_MUST_CHECK;
void hob__offload_free(hob_offload_pool *pool); /* waits for the jobs under way */
/* Sleeps the running task until fn has ended, be deadline and cancellation what they may. false: the queue is full or
 * no thread could be started. */
bool hob__offload(hob_offload_pool *pool, hob_task *task, void (*fn)(void *arg), void *arg) HOB_MUST_CHECK;

#define HOB_ADDRESSES_MAX 8
typedef struct hob_addresses {
    size_t count;
    char text[HOB_ADDRESSES_MAX][64]; /* numeric */
} hob_addresses;

/* Name resolution there. On success the name's addresses, best first (RFC 6724), at most HOB_ADDRESSES_MAX; false with
 * gai_strerror's text in *why. A numeric host comes back without a thread. */
bool hob__resolve_all(hob_offload_pool *pool, hob_task *task, const char *host, hob_addresses *addresses,
                      const char **why) HOB_MUST_CHECK;
/* Only the first of them. */
bool hob__resolve(hob_offload_pool *pool, hob_task *task, const char *host, char address[64],
                  const char **why) HOB_MUST_CHECK;

#endif
