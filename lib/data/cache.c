#include "data/cache_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* A look-up may wait behind another exchange, then for a connection that proves dead, then for its own. More only when
 * the loop itself is held up; then the answer would come late, but come. */
#define PATIENCE 3 /* times the timeout */

/* How long to wait, ms, between looks at somebody else's placeholder: 94 in all. */
static const int64_t WAITS[] = {2, 4, 8, 16, 32, 32};

bool hob__cache_stopping(const hob_cache *cache) {
    return cache->stop_by != HOB_FOREVER;
}

bool hob__cache_readable(const hob_cache *cache, const hob_cache_server *server) {
    return !hob__cache_stopping(cache) && server->generation != 0 && server->owed_count == 0 &&
           !hob__cache_breaker_open(&server->links[HOB_CACHE_LOOKUPS].breaker) &&
           hob__loop_now(cache->loop) >= server->shunned_until;
}

bool hob__cache_up(const hob_cache *cache) {
    for (size_t i = 0; i < cache->server_count; i++)
        if (cache->servers[i].links[HOB_CACHE_LOOKUPS].answered && hob__cache_readable(cache, &cache->servers[i]))
            return true;
    return false;
}

const hob_cache_counters *hob__cache_counters(const hob_cache *cache) {
    return &cache->counters;
}

static bool printable(hob_text text, size_t longest) {
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~')
            return false;
    return text.size >= 1 && text.size <= longest;
}

bool hob__cache_key_good(hob_text key) {
    return printable(key, HOB_CACHE_OWN_KEY_MAX);
}

/* false: the key is not good. */
static bool with_prefix(const hob_cache *cache, hob_text key, char buffer[HOB_CACHE_KEY_MAX], hob_text *whole) {
    if (!hob__cache_key_good(key))
        return false;
    memcpy(buffer, cache->prefix.data, cache->prefix.size);
    memcpy(buffer + cache->prefix.size, key.data, key.size);
    *whole = (hob_text){buffer, cache->prefix.size + key.size};
    return true;
}

/* ---- Look-ups ---- */

static bool gone(const hob_task *task) {
    return task->cancelled || task->deadline <= hob__loop_now(task->loop);
}

/* false: the task has no more time. */
static bool sleep_ms(hob_task *task, int64_t ms) {
    int64_t until = hob__loop_now(task->loop) + ms * HOB_MS;
    while (!gone(task) && hob__loop_now(task->loop) < until)
        (void)hob__task_park(task, until);
    return !gone(task);
}

static hob_cache_found ask(hob_cache *cache, hob_cache_lookup *lookup) {
    lookup->until = hob__loop_now(cache->loop) + PATIENCE * cache->timeout;
    hob__cache_lookup_add(cache, lookup);
    while (!lookup->done && !gone(lookup->task) && hob__loop_now(cache->loop) < lookup->until)
        (void)hob__task_park(lookup->task, lookup->until);
    if (!lookup->done) {
        hob__cache_lookup_leave(lookup);
        return HOB_CACHE_FOUND_FAILURE;
    }
    return lookup->found;
}

/* Looks again and again while somebody else loads. */
static hob_cache_found look_up(hob_cache *cache, hob_cache_lookup *lookup) {
    hob_cache_found found = HOB_CACHE_FOUND_OTHERS;
    for (size_t i = 0; found == HOB_CACHE_FOUND_OTHERS; i++) {
        if (!hob__cache_readable(cache, lookup->server)) {
            cache->counters.skipped++;
            return HOB_CACHE_FOUND_FAILURE;
        }
        found = ask(cache, lookup);
        if (i == sizeof WAITS / sizeof *WAITS || found != HOB_CACHE_FOUND_OTHERS || !sleep_ms(lookup->task, WAITS[i]))
            break;
    }
    return found;
}

hob_cache_result hob__cache_get(hob_cache *cache, hob_task *task, hob_text key, hob_text *value,
                                hob_cache_lease *lease) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_cache_lookup lookup = {.task = task};
    *value = (hob_text){0};
    *lease = (hob_cache_lease){0};
    if (gone(task))
        return HOB_CACHE_GONE;
    if (!with_prefix(cache, key, buffer, &lookup.key))
        return HOB_CACHE_LOAD;
    lookup.server = hob__cache_server_of(cache, lookup.key);
    cache->counters.lookups++;
    hob_cache_found found = look_up(cache, &lookup);
    if (found == HOB_CACHE_FOUND_VALUE && lookup.value.data) {
        cache->counters.hits++;
        *value = lookup.value;
        return HOB_CACHE_HIT;
    }
    if (found != HOB_CACHE_FOUND_VALUE && found != HOB_CACHE_FOUND_FAILURE)
        cache->counters.misses++;
    if (found == HOB_CACHE_FOUND_LEASE) { /* even when the task is gone: its load will fail and give the lease back */
        cache->counters.leases++;
        lease->id = lookup.claim;
        return HOB_CACHE_FILL;
    }
    return gone(task) ? HOB_CACHE_GONE : HOB_CACHE_LOAD;
}

/* ---- Writes ---- */

void hob__cache_fill(hob_cache *cache, hob_text key, hob_cache_lease lease, hob_text value, int64_t ttl) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_text whole;
    if (value.size > HOB_CACHE_PAYLOAD_MAX)
        hob__cache_give_up(cache, key, lease);
    else if (lease.id && with_prefix(cache, key, buffer, &whole))
        (void)hob__cache_write(cache, HOB_CACHE_JOB_FILL, whole, lease, value, ttl, NULL);
}

void hob__cache_give_up(hob_cache *cache, hob_text key, hob_cache_lease lease) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_text whole;
    if (lease.id && with_prefix(cache, key, buffer, &whole))
        (void)hob__cache_write(cache, HOB_CACHE_JOB_GIVE_UP, whole, lease, (hob_text){0}, 0, NULL);
}

bool hob__cache_tombstone(hob_cache *cache, hob_task *task, hob_text key) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_text whole;
    hob_cache_job_waiter waiter = {.task = task};
    if (!with_prefix(cache, key, buffer, &whole) ||
        !hob__cache_write(cache, HOB_CACHE_JOB_TOMBSTONE, whole, (hob_cache_lease){0}, (hob_text){0}, 0, &waiter))
        return false;
    while (waiter.job && !gone(task))
        (void)hob__task_park(task, HOB_FOREVER);
    if (waiter.job)
        waiter.job->waiter = NULL; /* it will be set all the same */
    return waiter.succeeded;
}

void hob__cache_delete(hob_cache *cache, hob_text key) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_text whole;
    if (with_prefix(cache, key, buffer, &whole))
        (void)hob__cache_write(cache, HOB_CACHE_JOB_DELETE, whole, (hob_cache_lease){0}, (hob_text){0}, 0, NULL);
}

/* ---- Services ---- */

void hob__cache_wake(hob_cache_service *service) {
    if (service->idle)
        hob__task_wake(&service->task);
}

void hob__cache_idle(hob_cache_service *service, int64_t until) {
    service->idle = true;
    (void)hob__task_park(&service->task, until);
    service->idle = false;
}

static void release(hob_cache *cache) {
    hob__cache_drop_jobs(cache);
    for (size_t i = 0; i < cache->server_count; i++)
        for (size_t use = 0; use < HOB_CACHE_LINKS; use++)
            hob__cache_link_close(&cache->servers[i].links[use]);
    if (cache->ring)
        memcached_free(cache->ring);
    free(cache->servers);
    free(cache);
}

void hob__cache_service_ended(hob_cache_service *service) {
    hob_cache *cache = service->cache;
    if (--cache->running > 0)
        return;
    if (cache->orphaned)
        release(cache);
    else if (cache->freer)
        hob__task_wake(cache->freer);
}

static bool start_service(hob_cache *cache, hob_cache_service *service, void (*fn)(hob_task *task)) {
    *service = (hob_cache_service){
        .task = {.loop = cache->loop, .deadline = HOB_FOREVER}, .port = {.parks_poll = true}, .cache = cache};
    service->task.port = &service->port;
    bool started = hob__task_start(&service->task, fn);
    cache->running += started;
    return started;
}

static bool any_named(const hob_cache *cache) {
    for (size_t i = 0; i < cache->server_count; i++)
        if (cache->servers[i].named)
            return true;
    return false;
}

static bool start_services(hob_cache *cache) {
    return start_service(cache, &cache->lookups, hob__cache_lookup_service) &&
           start_service(cache, &cache->writer, hob__cache_writer_service) &&
           (!any_named(cache) || start_service(cache, &cache->resolver, hob__cache_resolver));
}

static bool set_prefix(hob_cache *cache, const char *prefix, char error[256]) {
    hob_text text = hob_text_of(prefix);
    if (!printable(text, HOB_CACHE_PREFIX_MAX)) {
        snprintf(error, 256, "HOB_CACHE_PREFIX: 1 to 40 printable ASCII characters without blanks, not '%.100s'",
                 prefix ? prefix : "");
        return false;
    }
    int size = snprintf(cache->prefix_bytes, sizeof cache->prefix_bytes, "%s:", prefix);
    cache->prefix = (hob_text){cache->prefix_bytes, (size_t)size};
    return true;
}

static void set_up(hob_cache *cache, const hob_config *config) {
    int64_t s = config->request_timeout / HOB_S + 2; /* the delete comes right behind the request */
    cache->tombstone_ttl = s < HOB_CACHE_TTL_MAX_S ? s : HOB_CACHE_TTL_MAX_S;
    cache->timeout = config->cache_timeout;
    cache->longest_ttl =
        config->cache_ttl < HOB_CACHE_TTL_MAX_S * HOB_S ? config->cache_ttl : HOB_CACHE_TTL_MAX_S * HOB_S;
    cache->stop_by = HOB_FOREVER;
    TAILQ_INIT(&cache->pending);
    STAILQ_INIT(&cache->urgent);
    STAILQ_INIT(&cache->fills);
    for (size_t i = 0; i < cache->server_count; i++)
        STAILQ_INIT(&cache->servers[i].owed);
}

hob_cache *hob__cache_new(hob_loop *loop, hob_offload_pool *offload, const hob_config *config, const char *prefix,
                          char error[256]) {
    hob_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        goto no_memory;
    cache->loop = loop;
    cache->offload = offload;
    if (!set_prefix(cache, prefix, error) ||
        !hob__cache_servers_parse(config->cache, &cache->servers, &cache->server_count, error)) {
        release(cache);
        return NULL;
    }
    set_up(cache, config);
    if (cache->server_count > 1 && !(cache->ring = hob__cache_ring_new(cache->servers, cache->server_count)))
        goto no_memory;
    if (start_services(cache))
        return cache;
no_memory:
    snprintf(error, 256, "HOB_CACHE: out of memory");
    if (cache)
        hob__cache_free(cache);
    return NULL;
}

/* Every exchange ends within a few timeouts. Only a name being resolved can take longer; then the resolver cleans up
 * after itself. */
void hob__cache_free(hob_cache *cache) {
    int64_t patience = hob__clock_ns() + 8 * cache->timeout + HOB_S;
    hob_task *self = hob__task_self();
    cache->stop_by = hob__clock_ns() + cache->timeout;
    cache->freer = self;
    hob__cache_wake(&cache->lookups);
    hob__cache_wake(&cache->writer);
    hob__cache_wake(&cache->resolver);
    while (cache->running > 0 && hob__clock_ns() < patience) {
        if (!self)
            hob__loop_turn(cache->loop, cache->timeout);
        else if (gone(self))
            (void)hob__task_yield(self);
        else
            (void)hob__task_park(self, patience);
    }
    cache->freer = NULL;
    if (cache->running > 0)
        cache->orphaned = true;
    else
        release(cache);
}
