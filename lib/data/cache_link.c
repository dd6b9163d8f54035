#include "data/cache_private.h"

#include <string.h>

#include "base/log.h"

#define OPEN_AGAIN HOB_S /* after memory ran out */

static const char *use_text(hob_cache_link_use use) {
    return use == HOB_CACHE_LOOKUPS ? "look-ups" : "writes";
}

void hob__cache_link_close(hob_cache_link *link) {
    if (link->handle) {
        memcached_result_free(&link->result);
        memcached_free(link->handle);
    }
    *link = (hob_cache_link){0};
}

bool hob__cache_link_usable(const hob_cache_link *link) {
    return link->handle && !hob__cache_breaker_open(&link->breaker);
}

/* libmemcached's own ideas of dead servers are switched off: the breaker decides. Look-ups get no CAS numbers and send
 * their placeholders without awaiting an answer: the multi-get behind them tells who won. */
static bool set_up(memcached_st *handle, hob_cache_link_use use, int64_t timeout) {
    uint64_t ms = (uint64_t)((timeout + HOB_MS - 1) / HOB_MS);
    const struct {
        memcached_behavior_t behavior;
        uint64_t value;
    } settings[] = {
        {MEMCACHED_BEHAVIOR_POLL_TIMEOUT, ms},
        {MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, ms},
        {MEMCACHED_BEHAVIOR_TCP_NODELAY, 1},
        {MEMCACHED_BEHAVIOR_TCP_KEEPALIVE, 1},
        {MEMCACHED_BEHAVIOR_SERVER_FAILURE_LIMIT, UINT32_MAX},
        {MEMCACHED_BEHAVIOR_SERVER_TIMEOUT_LIMIT, UINT32_MAX},
        {MEMCACHED_BEHAVIOR_RETRY_TIMEOUT, 0},
        {MEMCACHED_BEHAVIOR_DEAD_TIMEOUT, 0},
        {MEMCACHED_BEHAVIOR_SUPPORT_CAS, use == HOB_CACHE_WRITES},
        {MEMCACHED_BEHAVIOR_NOREPLY, use == HOB_CACHE_LOOKUPS},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (memcached_behavior_set(handle, settings[i].behavior, settings[i].value) != MEMCACHED_SUCCESS)
            return false;
    return true;
}

static bool open_link(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use) {
    hob_cache_link *link = &server->links[use];
    hob_cache_breaker breaker = link->breaker;
    hob__cache_link_close(link);
    memcached_st *handle = memcached_create(NULL);
    if (!handle || !set_up(handle, use, cache->timeout) ||
        memcached_server_add(handle, server->address, server->port) != MEMCACHED_SUCCESS) {
        hob__log(HOB_LOG_ERROR, "cache server %s: libmemcached could not be set up", server->host);
        if (handle)
            memcached_free(handle);
        return false;
    }
    link->handle = handle;
    memcached_result_create(handle, &link->result); /* in place: cannot fail */
    link->generation = server->generation;
    if (server->tried)
        link->breaker = breaker;
    else
        link->breaker.failures = HOB_CACHE_FAILURES - 1; /* no credit for one that has never answered */
    return true;
}

bool hob__cache_answered(memcached_return_t rc) {
    switch (rc) {
    case MEMCACHED_SUCCESS:
    case MEMCACHED_STORED:
    case MEMCACHED_DELETED:
    case MEMCACHED_END:
    case MEMCACHED_NOTFOUND:
    case MEMCACHED_NOTSTORED:
    case MEMCACHED_DATA_EXISTS:
    case MEMCACHED_E2BIG:
    case MEMCACHED_SERVER_MEMORY_ALLOCATION_FAILURE:
        return true;
    default:
        return false;
    }
}

memcached_return_t hob__cache_fetch_end(hob_cache_link *link, memcached_return_t rc) {
    return rc == MEMCACHED_END || rc == MEMCACHED_NOTFOUND ? memcached_last_error(link->handle) : rc;
}

bool hob__cache_link_lost(hob_cache_link *link, memcached_return_t rc) {
    if (hob__cache_answered(rc) || rc == MEMCACHED_TIMEOUT)
        return false;
    memcached_quit(link->handle);
    return true;
}

static void failed(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use, memcached_return_t rc) {
    hob_cache_link *link = &server->links[use];
    const char *why =
        rc == MEMCACHED_ERRNO ? strerror(memcached_last_error_errno(link->handle)) : memcached_strerror(NULL, rc);
    cache->counters.failures++;
    if (!hob__cache_breaker_failed(&link->breaker, hob__loop_now(cache->loop))) {
        hob__log(HOB_LOG_WARN, "cache server %s, %s: %s", server->host, use_text(use), why);
        return;
    }
    link->answered = false;
    hob__log(HOB_LOG_WARN, "cache server %s, %s: %s; left alone for %d s", server->host, use_text(use), why,
             (int)(link->breaker.pause / HOB_S));
    if (server->named)
        hob__cache_address_failed(cache, server, link);
}

void hob__cache_link_settle(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use, memcached_return_t rc) {
    hob_cache_link *link = &server->links[use];
    if (hob__cache_answered(rc)) {
        link->answered = true;
        if (link->generation == server->generation) {
            server->settled = true;
            server->tried = false;
        }
        if (hob__cache_breaker_succeeded(&link->breaker))
            hob__log(HOB_LOG_INFO, "cache server %s, %s: answers again", server->host, use_text(use));
        return;
    }
    failed(cache, server, use, rc);
    memcached_quit(link->handle); /* last, for it may wait: a late answer must not meet the next question */
}

static memcached_return_t ask(hob_cache *cache, hob_cache_link *link) {
    memcached_return_t rc = memcached_mget(link->handle, &cache->prefix.data, &cache->prefix.size, 1);
    while (rc == MEMCACHED_SUCCESS && memcached_fetch_result(link->handle, &link->result, &rc))
        continue;
    return hob__cache_fetch_end(link, rc);
}

/* Any key will do, as long as it is asked for on the link's own connection. */
static void probe(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use) {
    memcached_return_t rc = ask(cache, &server->links[use]);
    if (hob__cache_link_lost(&server->links[use], rc))
        rc = ask(cache, &server->links[use]);
    hob__cache_link_settle(cache, server, use, rc);
}

int64_t hob__cache_tend(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use) {
    hob_cache_link *link = &server->links[use];
    bool opened = link->generation != server->generation && open_link(cache, server, use);
    if ((opened && !hob__cache_breaker_open(&link->breaker)) ||
        (link->handle && hob__cache_breaker_due(&link->breaker, hob__loop_now(cache->loop))))
        probe(cache, server, use);
    if (link->generation != server->generation)
        return opened ? 0 : hob__loop_now(cache->loop) + OPEN_AGAIN;
    return hob__cache_breaker_open(&link->breaker) ? link->breaker.probe_at : HOB_FOREVER;
}
