#include "data/cache_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define ON_DEMAND_PATIENCE 3 /* times the timeout: as look-ups have */

bool hob__cache_stopping(const hob_cache *cache) {
    return cache->stop_by != HOB_FOREVER;
}

bool hob__cache_readable(const hob_cache *cache, const hob_cache_server *server) {
    return !hob__cache_stopping(cache) && server->generation != 0 &&
           !hob__cache_breaker_open(&server->links[HOB_CACHE_LOOKUPS].breaker) && !hob__cache_debts_any(server->debts);
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

/* "g:" is the generations' own. */
bool hob__cache_key_good(hob_text key) {
    return printable(key, HOB_CACHE_OWN_KEY_MAX) && !(key.size >= 2 && memcmp(key.data, "g:", 2) == 0);
}

hob_text hob__cache_whole_key(const hob_cache *cache, hob_cache_space space, hob_text key,
                              char buffer[HOB_CACHE_KEY_MAX]) {
    char *at = buffer;
    memcpy(at, cache->prefix.data, cache->prefix.size);
    at += cache->prefix.size;
    if (space == HOB_CACHE_GENERATIONS) {
        *at++ = 'g';
        *at++ = ':';
    }
    memcpy(at, key.data, key.size);
    return (hob_text){buffer, (size_t)(at - buffer) + key.size};
}

/* ---- Writes ---- */

static void keep(hob_cache *cache, hob_text key, const hob_cache_lease *lease, hob_cache_entry *entry, int64_t ttl) {
    char buffer[HOB_CACHE_KEY_MAX];
    if (entry->payload.size > HOB_CACHE_PAYLOAD_MAX) {
        hob__cache_give_up(cache, key, *lease);
        return;
    }
    if (!lease->id || !hob__cache_key_good(key))
        return;
    entry->id = lease->id;
    entry->id_count = lease->count;
    memcpy(entry->ids, lease->generations, lease->count * sizeof *entry->ids);
    hob_text whole = hob__cache_whole_key(cache, HOB_CACHE_KEYS, key, buffer);
    if (!hob__cache_write(cache, HOB_CACHE_JOB_FILL, whole, lease->id, entry, ttl, NULL))
        hob__cache_give_up(cache, key, *lease);
}

void hob__cache_fill(hob_cache *cache, hob_text key, hob_cache_lease lease, hob_text value, int64_t ttl) {
    keep(cache, key, &lease, &(hob_cache_entry){.kind = HOB_CACHE_VALUE, .payload = value}, ttl);
}

void hob__cache_fill_absent(hob_cache *cache, hob_text key, hob_cache_lease lease, hob_text value, int64_t ttl) {
    keep(cache, key, &lease, &(hob_cache_entry){.kind = HOB_CACHE_ABSENCE, .payload = value}, ttl);
}

void hob__cache_give_up(hob_cache *cache, hob_text key, hob_cache_lease lease) {
    char buffer[HOB_CACHE_KEY_MAX];
    if (!lease.id || !hob__cache_key_good(key))
        return;
    hob_text whole = hob__cache_whole_key(cache, HOB_CACHE_KEYS, key, buffer);
    (void)hob__cache_write(cache, HOB_CACHE_JOB_GIVE_UP, whole, lease.id, NULL, 0, NULL);
}

/* To the value and to the generation, side by side. */
static bool write_both(hob_cache *cache, hob_cache_job_kind kind, hob_task *task, hob_text key, uint64_t id) {
    char buffer[HOB_CACHE_KEY_MAX];
    hob_cache_job_waiter waiters[2] = {{.task = task}, {.task = task}};
    bool succeeded = hob__cache_key_good(key);
    for (int space = HOB_CACHE_KEYS; succeeded && space <= HOB_CACHE_GENERATIONS; space++) {
        hob_text whole = hob__cache_whole_key(cache, (hob_cache_space)space, key, buffer);
        (void)hob__cache_write(cache, kind, whole, id, NULL, 0, &waiters[space]);
    }
    for (int i = 0; i < 2; i++)
        succeeded &= hob__cache_await(cache, &waiters[i]);
    return succeeded;
}

bool hob__cache_tombstone(hob_cache *cache, hob_task *task, hob_text key, uint64_t id) {
    return hob__cache_begin(cache, task) && write_both(cache, HOB_CACHE_JOB_TOMBSTONE, task, key, id);
}

void hob__cache_delete(hob_cache *cache, hob_task *task, hob_text key, uint64_t id) {
    (void)write_both(cache, HOB_CACHE_JOB_DELETE, task, key, id);
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
    for (size_t i = 0; i < cache->server_count; i++) {
        hob__cache_drop_jobs(cache, &cache->servers[i]); /* of a server whose writer ended first */
        for (size_t use = 0; use < HOB_CACHE_LINKS; use++)
            hob__cache_link_close(&cache->servers[i].links[use]);
    }
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

static bool start_service(hob_cache *cache, hob_cache_service *service, hob_cache_server *server,
                          void (*fn)(hob_task *task)) {
    *service = (hob_cache_service){.task = {.loop = cache->loop, .deadline = HOB_FOREVER},
                                   .port = {.parks_poll = true},
                                   .cache = cache,
                                   .server = server};
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
    bool started = !any_named(cache) || start_service(cache, &cache->resolver, NULL, hob__cache_resolver);
    for (size_t i = 0; started && i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        started = start_service(cache, &server->services[HOB_CACHE_LOOKUPS], server, hob__cache_lookup_service) &&
                  start_service(cache, &server->services[HOB_CACHE_WRITES], server, hob__cache_writer_service);
    }
    return started;
}

/* ---- On demand ---- */

static bool names_known(const hob_cache *cache) {
    for (size_t i = 0; i < cache->server_count; i++)
        if (cache->servers[i].generation == 0 && !cache->servers[i].resolve_failed)
            return false;
    return true;
}

static bool all_judged(const hob_cache *cache) {
    for (size_t i = 0; i < cache->server_count; i++) {
        const hob_cache_link *link = &cache->servers[i].links[HOB_CACHE_LOOKUPS];
        if (!link->answered && !hob__cache_breaker_open(&link->breaker))
            return false;
    }
    return true;
}

/* A moment of one process, which nobody needs to be told the end of. */
static void wait_for(hob_cache *cache, hob_task *task, bool (*done)(const hob_cache *cache)) {
    int64_t until = cache->began + ON_DEMAND_PATIENCE * cache->timeout;
    while (!done(cache) && hob__loop_now(cache->loop) < until && !task->cancelled &&
           task->deadline > hob__loop_now(cache->loop))
        (void)hob__task_park(task, hob__loop_now(cache->loop) + HOB_MS);
}

bool hob__cache_begin(hob_cache *cache, hob_task *task) {
    if (!cache->on_demand)
        return true;
    if (cache->began == 0) {
        cache->began = hob__loop_now(cache->loop);
        if (!start_services(cache))
            hob__log(HOB_LOG_ERROR, "cache: out of memory; it is not used");
    }
    wait_for(cache, task, names_known);
    return cache->running > 0;
}

bool hob__cache_reach(hob_cache *cache, hob_task *task) {
    if (cache->on_demand && hob__cache_begin(cache, task))
        wait_for(cache, task, all_judged);
    return hob__cache_up(cache);
}

/* ---- The whole ---- */

static void wake_services(hob_cache *cache) {
    hob__cache_wake(&cache->resolver);
    for (size_t i = 0; i < cache->server_count; i++)
        for (size_t use = 0; use < HOB_CACHE_LINKS; use++)
            hob__cache_wake(&cache->servers[i].services[use]);
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
    /* The longest a write can take effect behind its tombstone: its request's deadline, and what the database needs to
     * notice that nobody waits any more. */
    int64_t s = (config->request_timeout + config->db_statement_timeout) / HOB_S + 3;
    cache->tombstone_ttl = s < HOB_CACHE_TTL_MAX_S ? s : HOB_CACHE_TTL_MAX_S;
    cache->timeout = config->cache_timeout;
    cache->on_demand = config->on_demand;
    cache->stop_by = HOB_FOREVER;
    for (size_t i = 0; i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        TAILQ_INIT(&server->pending);
        STAILQ_INIT(&server->urgent);
        STAILQ_INIT(&server->fills);
        STAILQ_INIT(&server->owed);
    }
}

static bool share(hob_cache *cache, hob_cache_shared *shared, size_t slot, char error[256]) {
    cache->shared = shared ? shared : &cache->own;
    cache->slot = shared ? slot : 0;
    bool good = cache->slot < HOB_CACHE_SHARED_SLOTS;
    for (size_t i = 0; good && i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        server->debts = hob__cache_shared_server(cache->shared, server->host, server->port);
        good = server->debts != NULL;
    }
    if (good)
        hob__cache_shared_claim(cache->shared, cache->slot, getpid());
    else
        snprintf(error, 256, "HOB_CACHE: more than %d workers, or %d servers so far; restart the service",
                 HOB_CACHE_SHARED_SLOTS, HOB_CACHE_SHARED_SERVERS);
    return good;
}

hob_cache *hob__cache_new(hob_loop *loop, hob_offload_pool *offload, const hob_config *config, const char *prefix,
                          hob_cache_shared *shared, size_t slot, char error[256]) {
    hob_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        goto no_memory;
    cache->loop = loop;
    cache->offload = offload;
    if (!set_prefix(cache, prefix, error) ||
        !hob__cache_servers_parse(config->cache, &cache->servers, &cache->server_count, error) ||
        !share(cache, shared, slot, error)) {
        release(cache);
        return NULL;
    }
    set_up(cache, config);
    if (cache->server_count > 1 && !(cache->ring = hob__cache_ring_new(cache->servers, cache->server_count)))
        goto no_memory;
    if (cache->on_demand || start_services(cache))
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
    wake_services(cache);
    while (cache->running > 0 && hob__clock_ns() < patience)
        if (!self)
            hob__loop_turn(cache->loop, cache->timeout);
        else if (self->cancelled || self->deadline <= hob__loop_now(self->loop))
            (void)hob__task_yield(self);
        else
            (void)hob__task_park(self, patience);
    cache->freer = NULL;
    if (cache->running > 0)
        cache->orphaned = true;
    else
        release(cache);
}
