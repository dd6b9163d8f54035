/*
 * Look-ups at one server. What tasks ask for in one turn of the loop leaves in the next as one multi-get, equal keys
 * asked for once. A key that misses is asked for again with a claim: a placeholder is added (which fails when anything
 * stands there) right before the multi-get, and whose placeholder comes back has the lease. That costs no round trip of
 * its own. A generation that is missing is added in the same way; there, any answer is as good as the own.
 *
 * Looking up shares an answer only with those who asked before the question left: pending is closed then.
 */
#include "data/cache_private.h"

#include <string.h>

#include "base/text.h"

void hob__cache_lookup_add(hob_cache_lookup *lookup) {
    hob_cache_server *server = lookup->server;
    lookup->done = false;
    lookup->claim = 0;
    lookup->in = &server->pending;
    TAILQ_INSERT_TAIL(&server->pending, lookup, entry);
    hob__cache_wake(&server->services[HOB_CACHE_LOOKUPS]);
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

static hob_cache_slot *slot_of(hob_cache_server *server, hob_text key, uint32_t hash) {
    for (size_t i = 0; i < server->slot_count; i++) {
        hob_cache_slot *slot = &server->slots[i];
        if (slot->hash == hash && slot->size == key.size && memcmp(slot->key, key.data, key.size) == 0)
            return slot;
    }
    return NULL;
}

static hob_cache_slot *new_slot(hob_cache_server *server, const hob_cache_lookup *lookup, uint32_t hash) {
    hob_cache_slot *slot = &server->slots[server->slot_count++];
    slot->hash = hash;
    slot->size = (uint16_t)lookup->key.size;
    memcpy(slot->key, lookup->key.data, lookup->key.size);
    slot->generation = lookup->generation;
    slot->claim = 0;
    slot->answered = false;
    TAILQ_INIT(&slot->waiters);
    return slot;
}

static void gather(hob_cache_server *server) {
    size_t bytes = 0;
    hob_cache_lookup *lookup;
    server->slot_count = 0;
    while ((lookup = TAILQ_FIRST(&server->pending))) {
        uint32_t hash = hob__text_hash(lookup->key);
        hob_cache_slot *slot = slot_of(server, lookup->key, hash);
        if (!slot) {
            bytes += lookup->key.size + 1;
            if (server->slot_count == HOB_CACHE_BATCH || bytes > HOB_CACHE_BATCH_BYTES)
                return;
            slot = new_slot(server, lookup, hash);
        }
        move(lookup, &slot->waiters);
        slot->claim = lookup->claim ? lookup->claim : slot->claim;
    }
}

/* ---- The exchange ---- */

static memcached_return_t add_claim(hob_cache_link *link, const hob_cache_slot *slot) {
    char envelope[HOB_CACHE_HEADER + HOB_CACHE_KEY_MAX];
    hob_cache_entry entry = {.kind = slot->generation ? HOB_CACHE_GENERATION : HOB_CACHE_PLACEHOLDER,
                             .id = slot->claim};
    hob_text key = {slot->key, slot->size};
    hob__cache_value_write(envelope, &entry, key);
    return memcached_add(link->handle, key.data, key.size, envelope, hob__cache_value_size(&entry, key),
                         slot->generation ? HOB_CACHE_TTL_MAX_S : HOB_CACHE_LEASE_S, 0);
}

/* All that is not answered yet: after a connection was lost, only the rest. */
static memcached_return_t ask(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_LOOKUPS];
    const char *keys[HOB_CACHE_BATCH];
    size_t sizes[HOB_CACHE_BATCH], count = 0;
    for (size_t i = 0; i < server->slot_count; i++) {
        const hob_cache_slot *slot = &server->slots[i];
        if (slot->answered)
            continue;
        memcached_return_t rc = slot->claim ? add_claim(link, slot) : MEMCACHED_SUCCESS;
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
static hob_cache_slot *answered_slot(hob_cache_server *server, size_t *at) {
    const memcached_result_st *result = &server->links[HOB_CACHE_LOOKUPS].result;
    hob_text key = {memcached_result_key_value(result), memcached_result_key_length(result)};
    while (*at < server->slot_count) {
        hob_cache_slot *slot = &server->slots[(*at)++];
        if (!slot->answered && slot->size == key.size && memcmp(slot->key, key.data, key.size) == 0)
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
        (void)hob__cache_write(cache, HOB_CACHE_JOB_GIVE_UP, (hob_text){slot->key, slot->size}, slot->claim, NULL, 0,
                               NULL);
    }
}

static void hit(hob_cache_slot *slot, const hob_cache_entry *entry) {
    hob_cache_lookup *lookup;
    while ((lookup = TAILQ_FIRST(&slot->waiters))) {
        lookup->value = hob__arena_copy(lookup->task->arena, entry->payload);
        lookup->generation_count = entry->id_count;
        for (size_t i = 0; i < entry->id_count && i < HOB_CACHE_ENTITIES_MAX; i++)
            lookup->generations[i] = entry->ids[i];
        finish(lookup, entry->kind == HOB_CACHE_ABSENCE ? HOB_CACHE_FOUND_ABSENCE : HOB_CACHE_FOUND_VALUE);
    }
}

static void answer_entry(hob_cache *cache, hob_cache_slot *slot, const hob_cache_entry *entry) {
    hob_cache_lookup *lookup;
    TAILQ_FOREACH(lookup, &slot->waiters, entry)
    lookup->id = entry->id;
    if (slot->generation) {
        bool good = entry->kind == HOB_CACHE_GENERATION;
        finish_all(&slot->waiters, good ? HOB_CACHE_FOUND_VALUE : HOB_CACHE_FOUND_NONE);
    } else if (entry->kind == HOB_CACHE_VALUE || entry->kind == HOB_CACHE_ABSENCE) {
        hit(slot, entry);
    } else if (entry->kind == HOB_CACHE_PLACEHOLDER) {
        if (entry->id == slot->claim)
            won(cache, slot);
        finish_all(&slot->waiters, HOB_CACHE_FOUND_OTHERS);
    } else {
        finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
    }
}

static void answer(hob_cache *cache, hob_cache_slot *slot, hob_text stored) {
    hob_text key = {slot->key, slot->size};
    hob_cache_entry entry;
    slot->answered = true;
    if (hob__cache_value_read(stored, key, &entry)) {
        answer_entry(cache, slot, &entry);
        return;
    }
    cache->counters.foreign++;
    (void)hob__cache_write(cache, HOB_CACHE_JOB_CLEAR, key, 0, NULL, 0, NULL);
    finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
}

/* Nothing stands there. With a claim there should: the server had no room for it. And a lease is of no use, but in
 * everybody's way, while nothing can be written. */
static void miss(hob_cache *cache, hob_cache_server *server, hob_cache_slot *slot) {
    if (slot->claim || hob__cache_breaker_open(&server->links[HOB_CACHE_WRITES].breaker)) {
        finish_all(&slot->waiters, HOB_CACHE_FOUND_NONE);
        return;
    }
    hob_cache_lookup *lookup = TAILQ_FIRST(&slot->waiters);
    if (lookup)
        lookup->claim = slot->generation ? hob__cache_new_generation() : hob__cache_new_id();
    for (; lookup; lookup = TAILQ_FIRST(&slot->waiters)) {
        lookup->until += cache->timeout; /* another question, another wait */
        move(lookup, &server->pending);
    }
}

static memcached_return_t take_answers(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_LOOKUPS];
    memcached_return_t rc;
    size_t at = 0;
    while (memcached_fetch_result(link->handle, &link->result, &rc)) {
        hob_cache_slot *slot = answered_slot(server, &at);
        if (!slot)
            return MEMCACHED_PROTOCOL_ERROR;
        answer(cache, slot, (hob_text){memcached_result_value(&link->result), memcached_result_length(&link->result)});
    }
    return hob__cache_fetch_end(link, rc);
}

static memcached_return_t converse(hob_cache *cache, hob_cache_server *server) {
    memcached_return_t rc = ask(cache, server);
    return rc == MEMCACHED_SUCCESS ? take_answers(cache, server) : rc;
}

/* What is still unanswered: missing when all went well, else unknown. Who waits for a server that has just failed has
 * waited long enough. */
static void close_slots(hob_cache *cache, hob_cache_server *server, bool good) {
    if (!good)
        finish_all(&server->pending, HOB_CACHE_FOUND_FAILURE);
    for (size_t i = 0; i < server->slot_count; i++) {
        hob_cache_slot *slot = &server->slots[i];
        if (slot->answered)
            continue;
        if (good)
            miss(cache, server, slot);
        else
            finish_all(&slot->waiters, HOB_CACHE_FOUND_FAILURE);
    }
    server->slot_count = 0;
}

static void exchange(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_LOOKUPS];
    if (!hob__cache_link_usable(link)) {
        close_slots(cache, server, false);
        return;
    }
    memcached_return_t rc = converse(cache, server);
    if (hob__cache_link_lost(link, rc))
        rc = converse(cache, server);
    close_slots(cache, server, hob__cache_answered(rc));
    hob__cache_link_settle(cache, server, HOB_CACHE_LOOKUPS, rc);
}

void hob__cache_lookup_service(hob_task *task) {
    hob_cache_service *service = (hob_cache_service *)task;
    hob_cache *cache = service->cache;
    hob_cache_server *server = service->server;
    while (!hob__cache_stopping(cache)) {
        int64_t probe_at = hob__cache_tend(cache, server, HOB_CACHE_LOOKUPS);
        if (hob__cache_stopping(cache))
            break;
        if (TAILQ_EMPTY(&server->pending)) {
            hob__cache_idle(service, probe_at);
            (void)hob__task_yield(task); /* the rest of this turn joins the batch */
            continue;
        }
        gather(server);
        exchange(cache, server);
    }
    finish_all(&server->pending, HOB_CACHE_FOUND_FAILURE);
    hob__cache_service_ended(service);
}
