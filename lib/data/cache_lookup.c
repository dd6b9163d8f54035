/*
 * Look-ups. What tasks ask for in one turn of the loop leaves in the next as one batch: one multi-get to each server,
 * equal keys asked for once. A key that misses is asked for again with a claim: a placeholder is added (which fails
 * when anything stands there) right before the multi-get, and whose placeholder comes back has the lease. That costs no
 * round trip of its own.
 *
 * Looking up shares an answer only with those who asked before the question left: cache->pending is closed then.
 */
#include "data/cache_private.h"

#include <string.h>

#include "base/log.h"

void hob__cache_lookup_add(hob_cache *cache, hob_cache_lookup *lookup) {
    lookup->done = false;
    lookup->claim = 0;
    lookup->in = &cache->pending;
    TAILQ_INSERT_TAIL(&cache->pending, lookup, entry);
    hob__cache_wake(&cache->lookups);
}

void hob__cache_lookup_leave(hob_cache_lookup *lookup) {
    TAILQ_REMOVE(lookup->in, lookup, entry);
    lookup->in = NULL;
}

static void move(hob_cache_lookup *lookup, hob_cache_lookups *to) {
    hob__cache_lookup_leave(lookup);
    lookup->in = to;
    TAILQ_INSERT_TAIL(to, lookup, entry);
}

static void finish(hob_cache_lookup *lookup, hob_cache_found found) {
    hob__cache_lookup_leave(lookup);
    lookup->found = found;
    lookup->done = true;
    hob__task_wake(lookup->task);
}

static void finish_all(hob_cache_lookups *list, hob_cache_found found) {
    hob_cache_lookup *lookup;
    while ((lookup = TAILQ_FIRST(list)))
        finish(lookup, found);
}

/* ---- Gathering ---- */

static uint32_t hash_of(hob_text key) {
    uint32_t hash = 2166136261U; /* FNV-1a: only to tell most keys of a batch apart quickly */
    for (size_t i = 0; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 16777619U;
    return hash;
}

static hob_cache_slot *slot_of(hob_cache *cache, hob_text key, uint32_t hash) {
    for (size_t i = 0; i < cache->slot_count; i++) {
        hob_cache_slot *slot = &cache->slots[i];
        if (slot->hash == hash && slot->size == key.size && memcmp(slot->key, key.data, key.size) == 0)
            return slot;
    }
    return NULL;
}

static hob_cache_slot *new_slot(hob_cache *cache, const hob_cache_lookup *lookup, uint32_t hash) {
    hob_cache_slot *slot = &cache->slots[cache->slot_count++];
    slot->server = lookup->server;
    slot->hash = hash;
    slot->size = lookup->key.size;
    memcpy(slot->key, lookup->key.data, lookup->key.size);
    slot->claim = 0;
    slot->answered = false;
    TAILQ_INIT(&slot->waiters);
    return slot;
}

static void gather(hob_cache *cache) {
    size_t bytes = 0;
    hob_cache_lookup *lookup;
    cache->slot_count = 0;
    while ((lookup = TAILQ_FIRST(&cache->pending))) {
        uint32_t hash = hash_of(lookup->key);
        hob_cache_slot *slot = slot_of(cache, lookup->key, hash);
        if (!slot) {
            bytes += lookup->key.size + 1;
            if (cache->slot_count == HOB_CACHE_BATCH || bytes > HOB_CACHE_BATCH_BYTES)
                return;
            slot = new_slot(cache, lookup, hash);
        }
        move(lookup, &slot->waiters);
        slot->claim = lookup->claim ? lookup->claim : slot->claim;
    }
}

/* ---- The exchange with one server ---- */

static bool asks(const hob_cache_slot *slot, const hob_cache_server *server) {
    return slot->server == server && !slot->answered;
}

static memcached_return_t add_placeholder(hob_cache_link *link, const hob_cache_slot *slot) {
    char envelope[HOB_CACHE_HEADER + HOB_CACHE_KEY_MAX];
    hob_cache_entry entry = {.kind = HOB_CACHE_PLACEHOLDER, .id = slot->claim};
    hob_text key = {slot->key, slot->size};
    hob__cache_value_write(envelope, &entry, key);
    return memcached_add(link->handle, key.data, key.size, envelope, hob__cache_value_size(key, entry.payload),
                         HOB_CACHE_LEASE_S, 0);
}

static memcached_return_t ask(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_LOOKUPS];
    const char *keys[HOB_CACHE_BATCH];
    size_t sizes[HOB_CACHE_BATCH], count = 0;
    for (size_t i = 0; i < cache->slot_count; i++) {
        const hob_cache_slot *slot = &cache->slots[i];
        if (!asks(slot, server))
            continue;
        memcached_return_t rc = slot->claim ? add_placeholder(link, slot) : MEMCACHED_SUCCESS;
        if (rc != MEMCACHED_SUCCESS)
            return rc;
        keys[count] = slot->key;
        sizes[count++] = slot->size;
    }
    if (count == 0)
        return MEMCACHED_SUCCESS;
    cache->counters.multigets++;
    return memcached_mget(link->handle, keys, sizes, count);
}

/* The answers come in the order of the question. NULL: an answer to something else. */
static hob_cache_slot *answered_slot(hob_cache *cache, const hob_cache_server *server, size_t *at) {
    const memcached_result_st *result = &server->links[HOB_CACHE_LOOKUPS].result;
    hob_text key = {memcached_result_key_value(result), memcached_result_key_length(result)};
    while (*at < cache->slot_count) {
        hob_cache_slot *slot = &cache->slots[(*at)++];
        if (asks(slot, server) && slot->size == key.size && memcmp(slot->key, key.data, key.size) == 0)
            return slot;
    }
    return NULL;
}

/* Whoever asked first has left with the task perhaps; with nobody there the placeholder would only be in the way. */
static void won(hob_cache *cache, hob_cache_slot *slot) {
    hob_cache_lookup *first = TAILQ_FIRST(&slot->waiters);
    if (first) {
        first->claim = slot->claim;
        finish(first, HOB_CACHE_FOUND_LEASE);
    } else {
        (void)hob__cache_write(cache, HOB_CACHE_JOB_GIVE_UP, (hob_text){slot->key, slot->size},
                               (hob_cache_lease){slot->claim}, (hob_text){0}, 0, NULL);
    }
    finish_all(&slot->waiters, HOB_CACHE_FOUND_OTHERS);
}

static void hit(hob_cache_slot *slot, hob_text payload) {
    hob_cache_lookup *lookup;
    while ((lookup = TAILQ_FIRST(&slot->waiters))) {
        lookup->value = hob__arena_copy(lookup->task->arena, payload);
        finish(lookup, HOB_CACHE_FOUND_VALUE);
    }
}

static void answer(hob_cache *cache, hob_cache_slot *slot, hob_text stored) {
    hob_text key = {slot->key, slot->size};
    hob_cache_entry entry;
    slot->answered = true;
    if (!hob__cache_value_read(stored, key, &entry)) {
        cache->counters.foreign++;
        (void)hob__cache_write(cache, HOB_CACHE_JOB_CLEAR, key, (hob_cache_lease){0}, (hob_text){0}, 0, NULL);
        finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
    } else if (entry.kind == HOB_CACHE_VALUE) {
        hit(slot, entry.payload);
    } else if (entry.kind == HOB_CACHE_TOMBSTONE) {
        finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
    } else if (entry.id == slot->claim) {
        won(cache, slot);
    } else {
        finish_all(&slot->waiters, HOB_CACHE_FOUND_OTHERS);
    }
}

/* Nothing stands there. With a claim there should: the server had no room for it. And a lease is of no use, but in
 * everybody's way, while nothing can be written. */
static void miss(hob_cache *cache, hob_cache_slot *slot) {
    slot->answered = true;
    if (slot->claim || hob__cache_breaker_open(&slot->server->links[HOB_CACHE_WRITES].breaker)) {
        finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
        return;
    }
    hob_cache_lookup *lookup = TAILQ_FIRST(&slot->waiters);
    if (lookup)
        lookup->claim = hob__cache_new_id();
    for (; lookup; lookup = TAILQ_FIRST(&slot->waiters)) {
        lookup->until += cache->timeout; /* another question, another wait */
        move(lookup, &cache->pending);
    }
}

static memcached_return_t take_answers(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_LOOKUPS];
    memcached_return_t rc;
    size_t at = 0;
    while (memcached_fetch_result(link->handle, &link->result, &rc)) {
        hob_cache_slot *slot = answered_slot(cache, server, &at);
        if (!slot)
            return MEMCACHED_PROTOCOL_ERROR;
        answer(cache, slot, (hob_text){memcached_result_value(&link->result), memcached_result_length(&link->result)});
    }
    return hob__cache_fetch_end(link, rc);
}

static memcached_return_t converse(hob_cache *cache, hob_cache_server *server) {
    memcached_return_t rc = server->sent;
    if (rc == MEMCACHED_SUCCESS)
        rc = take_answers(cache, server);
    if (hob__cache_link_lost(&server->links[HOB_CACHE_LOOKUPS], rc)) {
        rc = ask(cache, server);
        if (rc == MEMCACHED_SUCCESS)
            rc = take_answers(cache, server);
    }
    return rc;
}

static bool involved(const hob_cache *cache, const hob_cache_server *server) {
    for (size_t i = 0; i < cache->slot_count; i++)
        if (asks(&cache->slots[i], server))
            return true;
    return false;
}

/* What is still unanswered: missing when all went well, else unknown. */
static void close_slots(hob_cache *cache, const hob_cache_server *server, bool good) {
    for (size_t i = 0; i < cache->slot_count; i++) {
        hob_cache_slot *slot = &cache->slots[i];
        if (!asks(slot, server))
            continue;
        if (good)
            miss(cache, slot);
        else
            finish_all(&slot->waiters, HOB_CACHE_FOUND_FAILURE);
        slot->answered = true;
    }
}

/* Who waits for a server that has just failed has waited long enough. */
static void fail_pending(hob_cache *cache, const hob_cache_server *server) {
    hob_cache_lookup *next;
    for (hob_cache_lookup *lookup = TAILQ_FIRST(&cache->pending); lookup; lookup = next) {
        next = TAILQ_NEXT(lookup, entry);
        if (lookup->server == server)
            finish(lookup, HOB_CACHE_FOUND_FAILURE);
    }
}

/* All servers are asked before the first is listened to. */
static void exchange(hob_cache *cache) {
    for (size_t i = 0; i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        if (!involved(cache, server))
            continue;
        if (hob__cache_link_usable(&server->links[HOB_CACHE_LOOKUPS]))
            server->sent = ask(cache, server);
        else
            close_slots(cache, server, false);
    }
    for (size_t i = 0; i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        if (!involved(cache, server))
            continue;
        memcached_return_t rc = converse(cache, server);
        close_slots(cache, server, hob__cache_answered(rc));
        if (!hob__cache_answered(rc))
            fail_pending(cache, server);
        hob__cache_link_settle(cache, server, HOB_CACHE_LOOKUPS, rc);
    }
}

void hob__cache_lookup_service(hob_task *task) {
    hob_cache *cache = ((hob_cache_service *)task)->cache;
    while (!hob__cache_stopping(cache)) {
        int64_t probe_at = hob__cache_tend(cache, HOB_CACHE_LOOKUPS);
        if (hob__cache_stopping(cache))
            break;
        if (TAILQ_EMPTY(&cache->pending)) {
            hob__cache_idle(&cache->lookups, probe_at);
            (void)hob__task_yield(task); /* the rest of this turn joins the batch */
            continue;
        }
        gather(cache);
        exchange(cache);
    }
    finish_all(&cache->pending, HOB_CACHE_FOUND_FAILURE);
    hob__cache_service_ended(&cache->lookups);
}
