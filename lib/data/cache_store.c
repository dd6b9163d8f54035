/*
 * What jobs do at their server. Whatever depends on what stands there looks first, and writes only over what it saw:
 * CAS numbers start anew with the server, so the same number proves nothing; the id in the entry does, and the number
 * only that nothing came between the look and the write.
 *
 * All jobs of a batch look together, with one multi-get; then each writes. Invalidations that were beaten look again.
 * Fills do not await the server's answer: whatever it is, there is nothing left to do.
 */
#include "data/cache_private.h"

#include <string.h>

#include "base/log.h"

#define EXPIRED (-1)    /* a ttl with which what is stored has gone at once */
#define TRIES 9         /* when others write the same key all the time */
#define CLOCKS_APART 60 /* s; of the machines that share a server */
#define FILL_SURE 8192  /* bytes; a larger value may be too large for the server */

typedef struct standing {
    bool anything, foreign;
    hob_cache_entry entry; /* neither */
    uint64_t cas;
} standing;

/* The answers come in the order of the question. false: an answer to something else. */
static bool note(hob_cache_link *link, hob_cache_job *const *jobs, size_t count, size_t *at, standing *found) {
    const memcached_result_st *result = &link->result;
    hob_text got = {memcached_result_key_value(result), memcached_result_key_length(result)};
    while (*at < count && (jobs[*at]->done || !hob_text_equal(got, hob__cache_job_key(jobs[*at]))))
        ++*at;
    if (*at == count)
        return false;
    hob_text stored = {memcached_result_value(result), memcached_result_length(result)};
    found[*at].anything = true;
    found[*at].cas = memcached_result_cas(result);
    found[*at].foreign = !hob__cache_value_read(stored, got, &found[*at].entry);
    found[*at].entry.payload = (hob_text){0}; /* the next answer comes where it lies */
    ++*at;
    return true;
}

/* What stands under the keys of those that are not done. */
static memcached_return_t look(hob_cache_link *link, hob_cache_job *const *jobs, size_t count, standing *found) {
    const char *keys[HOB_CACHE_WRITE_BATCH];
    size_t sizes[HOB_CACHE_WRITE_BATCH], open = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        found[i] = (standing){0};
        if (jobs[i]->done)
            continue;
        hob_text key = hob__cache_job_key(jobs[i]);
        keys[open] = key.data;
        sizes[open++] = key.size;
    }
    memcached_return_t rc = memcached_mget(link->handle, keys, sizes, open);
    if (rc != MEMCACHED_SUCCESS)
        return rc;
    while (memcached_fetch_result(link->handle, &link->result, &rc))
        if (!note(link, jobs, count, &at, found))
            return MEMCACHED_PROTOCOL_ERROR;
    return hob__cache_fetch_end(link, rc);
}

static bool stands(const standing *found, hob_cache_kind kind) {
    return found->anything && !found->foreign && found->entry.kind == kind;
}

/* Somebody came between the look and the write. */
static bool beaten(memcached_return_t rc) {
    return rc == MEMCACHED_DATA_EXISTS || rc == MEMCACHED_NOTFOUND || rc == MEMCACHED_NOTSTORED;
}

static memcached_return_t expire(hob_cache_link *link, hob_text key, uint64_t cas) {
    return memcached_cas(link->handle, key.data, key.size, "", 0, EXPIRED, 0, cas);
}

/* ---- Leases ---- */

static bool stands_ours(const standing *found, hob_cache_kind kind, const hob_cache_job *job) {
    return stands(found, kind) && found->entry.id == job->id;
}

static memcached_return_t refused(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job, uint64_t cas,
                                  memcached_return_t rc) {
    cache->counters.failures++;
    hob__log(HOB_LOG_WARN, "cache server %s keeps no value of %zu bytes: %s", job->server->host, job->size,
             memcached_strerror(NULL, rc));
    return expire(link, hob__cache_job_key(job), cas);
}

static memcached_return_t fill(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job,
                               const standing *found) {
    hob_text key = hob__cache_job_key(job);
    if (!stands_ours(found, HOB_CACHE_PLACEHOLDER, job)) {
        cache->counters.voided++;
        return MEMCACHED_SUCCESS;
    }
    bool may_be_refused = job->size > FILL_SURE;
    memcached_behavior_set(link->handle, MEMCACHED_BEHAVIOR_NOREPLY, !may_be_refused);
    memcached_return_t rc =
        memcached_cas(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0, found->cas);
    memcached_behavior_set(link->handle, MEMCACHED_BEHAVIOR_NOREPLY, 0);
    cache->counters.fills += rc == MEMCACHED_SUCCESS;
    cache->counters.voided += beaten(rc);
    if (rc == MEMCACHED_SUCCESS || beaten(rc) || !hob__cache_answered(rc))
        return rc;
    return refused(cache, link, job, found->cas, rc);
}

/* Whatever came in between stays. */
static memcached_return_t give_up(hob_cache_link *link, const hob_cache_job *job, const standing *found) {
    bool ours = stands_ours(found, HOB_CACHE_PLACEHOLDER, job);
    return ours ? expire(link, hob__cache_job_key(job), found->cas) : MEMCACHED_SUCCESS;
}

static memcached_return_t clear(hob_cache_link *link, const hob_cache_job *job, const standing *found) {
    return found->foreign ? expire(link, hob__cache_job_key(job), found->cas) : MEMCACHED_SUCCESS;
}

static memcached_return_t take_over(hob_cache_link *link, const hob_cache_job *job, const standing *found) {
    hob_text key = hob__cache_job_key(job);
    if (!stands_ours(found, HOB_CACHE_VALUE, job) && !stands_ours(found, HOB_CACHE_ABSENCE, job))
        return MEMCACHED_NOTSTORED;
    return memcached_cas(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0, found->cas);
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

/* Each writer gives the tombstone all its time anew: under a key that is written often it would never expire, for the
 * sake of one that died. */
static bool over(const hob_cache_job *job, uint64_t id) {
    return hob__cache_write_over(id, job->ttl + CLOCKS_APART);
}

/* The tombstone that stands, and one writer more. With too many it is nobody's, and keeps the id it became so by. */
static void join(hob_cache_entry *tombstone, const standing *found, const hob_cache_job *job) {
    const hob_cache_entry *other = &found->entry;
    bool joins = stands(found, HOB_CACHE_TOMBSTONE);
    tombstone->id_count = 0;
    if (joins && other->id_count == 0 && !over(job, other->id)) {
        tombstone->id = other->id;
        return;
    }
    for (size_t i = 0; joins && i < other->id_count; i++)
        if (!over(job, other->ids[i]))
            tombstone->ids[tombstone->id_count++] = other->ids[i];
    if (place_of(tombstone, job->id) < tombstone->id_count) /* ours: an answer was lost */
        return;
    if (tombstone->id_count == HOB_CACHE_IDS_MAX)
        tombstone->id_count = 0;
    else
        tombstone->ids[tombstone->id_count++] = job->id;
}

/* When all tries but the last were beaten, over whatever it is. */
static memcached_return_t bury(hob_cache_link *link, const hob_cache_job *job, const standing *found, bool last) {
    hob_cache_entry tombstone = {.kind = HOB_CACHE_TOMBSTONE, .id = job->id};
    if (!last)
        join(&tombstone, found, job);
    return put_tombstone(link, job, &tombstone, last ? NULL : found);
}

/* Takes the writer's id from the tombstone: the others' stand on. Anything but a tombstone may be older than the write:
 * ours had expired, was evicted, or was never set. */
static memcached_return_t dig_up(hob_cache_link *link, const hob_cache_job *job, const standing *found) {
    hob_text key = hob__cache_job_key(job);
    if (!found->anything)
        return MEMCACHED_SUCCESS;
    if (!stands(found, HOB_CACHE_TOMBSTONE))
        return expire(link, key, found->cas);
    hob_cache_entry rest = found->entry;
    size_t place = place_of(&rest, job->id);
    if (place == rest.id_count)
        return MEMCACHED_SUCCESS;
    rest.ids[place] = rest.ids[--rest.id_count];
    return rest.id_count ? put_tombstone(link, job, &rest, found) : expire(link, key, found->cas);
}

/* ---- All of them ---- */

static memcached_return_t act(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job, const standing *found,
                              bool last) {
    switch (job->kind) {
    case HOB_CACHE_JOB_FILL:
        return fill(cache, link, job, found);
    case HOB_CACHE_JOB_GIVE_UP:
        return give_up(link, job, found);
    case HOB_CACHE_JOB_CLEAR:
        return clear(link, job, found);
    case HOB_CACHE_JOB_TAKE_OVER:
        return take_over(link, job, found);
    case HOB_CACHE_JOB_TOMBSTONE:
        return bury(link, job, found, last);
    case HOB_CACHE_JOB_DELETE:
        return dig_up(link, job, found);
    }
    return MEMCACHED_FAILURE;
}

/* Each at what it saw. *open: how many were beaten, and look again. */
static memcached_return_t act_all(hob_cache *cache, hob_cache_link *link, hob_cache_job *const *jobs, size_t count,
                                  const standing *found, bool last, size_t *open) {
    *open = 0;
    for (size_t i = 0; i < count; i++) {
        hob_cache_job *job = jobs[i];
        if (job->done)
            continue;
        memcached_return_t rc = act(cache, link, job, &found[i], last);
        if (!hob__cache_answered(rc))
            return rc;
        job->rc = rc;
        job->done = !(beaten(rc) && hob__cache_invalidates(job->kind));
        *open += !job->done;
    }
    return MEMCACHED_SUCCESS;
}

memcached_return_t hob__cache_perform(hob_cache *cache, hob_cache_link *link, hob_cache_job *const *jobs,
                                      size_t count) {
    standing found[HOB_CACHE_WRITE_BATCH];
    size_t open = 1;
    for (int tries = 1; open > 0 && tries <= TRIES; tries++) {
        memcached_return_t rc = look(link, jobs, count, found);
        if (hob__cache_answered(rc))
            rc = act_all(cache, link, jobs, count, found, tries == TRIES, &open);
        if (!hob__cache_answered(rc))
            return rc;
    }
    return MEMCACHED_SUCCESS;
}
