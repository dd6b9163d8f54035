/*
 * What a job does at its server. Whatever depends on what stands there looks first, and writes only over what it saw:
 * CAS numbers start anew with the server, so the same number proves nothing; the id in the entry does, and the number
 * only that nothing came between the look and the write.
 */
#include "data/cache_private.h"

#include <string.h>

#include "base/log.h"

#define EXPIRED (-1) /* a ttl with which what is stored has gone at once */
#define TRIES 8      /* when others write the same key all the time */

typedef struct standing {
    bool anything, foreign;
    hob_cache_entry entry; /* neither */
    uint64_t cas;
} standing;

static memcached_return_t look(hob_cache_link *link, hob_text key, standing *found) {
    memcached_return_t rc = memcached_mget(link->handle, &key.data, &key.size, 1);
    found->anything = found->foreign = false;
    if (rc != MEMCACHED_SUCCESS)
        return rc;
    while (memcached_fetch_result(link->handle, &link->result, &rc)) {
        const memcached_result_st *result = &link->result;
        hob_text got = {memcached_result_key_value(result), memcached_result_key_length(result)};
        if (!hob_text_equal(got, key))
            return MEMCACHED_PROTOCOL_ERROR;
        hob_text stored = {memcached_result_value(result), memcached_result_length(result)};
        found->anything = true;
        found->cas = memcached_result_cas(result);
        found->foreign = !hob__cache_value_read(stored, key, &found->entry);
    }
    return hob__cache_fetch_end(link, rc);
}

static bool stands(const standing *found, hob_cache_kind kind) {
    return found->anything && !found->foreign && found->entry.kind == kind;
}

static bool stands_value(const standing *found) {
    return stands(found, HOB_CACHE_VALUE) || stands(found, HOB_CACHE_ABSENCE);
}

/* Somebody came between the look and the write. */
static bool beaten(memcached_return_t rc) {
    return rc == MEMCACHED_DATA_EXISTS || rc == MEMCACHED_NOTFOUND || rc == MEMCACHED_NOTSTORED;
}

static memcached_return_t expire(hob_cache_link *link, hob_text key, uint64_t cas) {
    return memcached_cas(link->handle, key.data, key.size, "", 0, EXPIRED, 0, cas);
}

/* ---- Leases ---- */

static memcached_return_t fill(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job) {
    hob_text key = hob__cache_job_key(job);
    standing found;
    memcached_return_t rc = look(link, key, &found);
    if (!hob__cache_answered(rc))
        return rc;
    if (!stands(&found, HOB_CACHE_PLACEHOLDER) || found.entry.id != job->id) {
        cache->counters.voided++;
        return MEMCACHED_SUCCESS;
    }
    rc = memcached_cas(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0, found.cas);
    if (rc == MEMCACHED_SUCCESS) {
        cache->counters.fills++;
    } else if (beaten(rc)) {
        cache->counters.voided++;
    } else if (hob__cache_answered(rc)) {
        cache->counters.failures++;
        hob__log(HOB_LOG_WARN, "cache server %s keeps no value of %zu bytes: %s", job->server->host, job->size,
                 memcached_strerror(NULL, rc));
        rc = expire(link, key, found.cas);
    }
    return rc;
}

/* Whatever came in between stays. */
static memcached_return_t give_up(hob_cache_link *link, const hob_cache_job *job) {
    standing found;
    memcached_return_t rc = look(link, hob__cache_job_key(job), &found);
    bool ours = hob__cache_answered(rc) && stands(&found, HOB_CACHE_PLACEHOLDER) && found.entry.id == job->id;
    return ours ? expire(link, hob__cache_job_key(job), found.cas) : rc;
}

static memcached_return_t clear(hob_cache_link *link, const hob_cache_job *job) {
    standing found;
    memcached_return_t rc = look(link, hob__cache_job_key(job), &found);
    return hob__cache_answered(rc) && found.foreign ? expire(link, hob__cache_job_key(job), found.cas) : rc;
}

static memcached_return_t take_over(hob_cache_link *link, const hob_cache_job *job) {
    hob_text key = hob__cache_job_key(job);
    standing found;
    memcached_return_t rc = look(link, key, &found);
    if (!hob__cache_answered(rc))
        return rc;
    if (!stands_value(&found) || found.entry.id != job->id)
        return MEMCACHED_NOTSTORED;
    return memcached_cas(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0, found.cas);
}

/* ---- Writers ---- */

/* Over what was seen: nothing, when cas is 0. */
static memcached_return_t put_tombstone(hob_cache_link *link, const hob_cache_job *job, const hob_cache_entry *entry,
                                        const standing *over) {
    char envelope[HOB_CACHE_HEADER + HOB_CACHE_KEY_MAX + sizeof entry->ids];
    hob_text key = hob__cache_job_key(job);
    size_t size = hob__cache_value_size(entry, key);
    hob__cache_value_write(envelope, entry, key);
    if (!over)
        return memcached_set(link->handle, key.data, key.size, envelope, size, job->ttl, 0);
    if (!over->anything)
        return memcached_add(link->handle, key.data, key.size, envelope, size, job->ttl, 0);
    return memcached_cas(link->handle, key.data, key.size, envelope, size, job->ttl, 0, over->cas);
}

static size_t place_of(const hob_cache_entry *tombstone, uint64_t id) {
    size_t i = 0;
    while (i < tombstone->id_count && tombstone->ids[i] != id)
        i++;
    return i;
}

/* The tombstone that stands, and one writer more. With too many it is nobody's, and stays until it expires. */
static void join(hob_cache_entry *tombstone, const standing *found, uint64_t id) {
    tombstone->id_count = 0;
    if (stands(found, HOB_CACHE_TOMBSTONE)) {
        const hob_cache_entry *other = &found->entry;
        if (other->id_count == 0)
            return;
        tombstone->id_count = other->id_count;
        memcpy(tombstone->ids, other->ids, other->id_count * sizeof *other->ids);
    }
    if (place_of(tombstone, id) < tombstone->id_count) /* ours: an answer was lost */
        return;
    if (tombstone->id_count == HOB_CACHE_IDS_MAX)
        tombstone->id_count = 0;
    else
        tombstone->ids[tombstone->id_count++] = id;
}

static memcached_return_t bury(hob_cache_link *link, const hob_cache_job *job) {
    hob_cache_entry tombstone = {.kind = HOB_CACHE_TOMBSTONE, .id = job->id};
    standing found;
    for (int i = 0; i < TRIES; i++) {
        memcached_return_t rc = look(link, hob__cache_job_key(job), &found);
        if (!hob__cache_answered(rc))
            return rc;
        join(&tombstone, &found, job->id);
        rc = put_tombstone(link, job, &tombstone, &found);
        if (!beaten(rc))
            return rc;
    }
    tombstone.id_count = 0;
    return put_tombstone(link, job, &tombstone, NULL);
}

/* Takes the writer's id from the tombstone: the others' stand on. Anything but a tombstone may be older than the write:
 * ours had expired, was evicted, or was never set. */
static memcached_return_t dig_up(hob_cache_link *link, const hob_cache_job *job, const standing *found) {
    hob_text key = hob__cache_job_key(job);
    if (!stands(found, HOB_CACHE_TOMBSTONE))
        return expire(link, key, found->cas);
    hob_cache_entry rest = found->entry;
    size_t place = place_of(&rest, job->id);
    if (place == rest.id_count)
        return MEMCACHED_SUCCESS;
    rest.ids[place] = rest.ids[--rest.id_count];
    return rest.id_count ? put_tombstone(link, job, &rest, found) : expire(link, key, found->cas);
}

static memcached_return_t delete (hob_cache_link *link, const hob_cache_job *job) {
    standing found;
    memcached_return_t rc = MEMCACHED_SUCCESS;
    for (int i = 0; i < TRIES; i++) {
        rc = look(link, hob__cache_job_key(job), &found);
        if (!hob__cache_answered(rc))
            return rc;
        if (!found.anything)
            return MEMCACHED_SUCCESS;
        rc = dig_up(link, job, &found);
        if (!beaten(rc))
            return rc;
    }
    return rc;
}

memcached_return_t hob__cache_perform(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job) {
    switch (job->kind) {
    case HOB_CACHE_JOB_FILL:
        return fill(cache, link, job);
    case HOB_CACHE_JOB_GIVE_UP:
        return give_up(link, job);
    case HOB_CACHE_JOB_CLEAR:
        return clear(link, job);
    case HOB_CACHE_JOB_TAKE_OVER:
        return take_over(link, job);
    case HOB_CACHE_JOB_TOMBSTONE:
        return bury(link, job);
    case HOB_CACHE_JOB_DELETE:
        return delete (link, job);
    }
    return MEMCACHED_FAILURE;
}
