/*
 * Writes: done behind the answer, one after the other; tombstones and deletes go first. What invalidates is never given
 * up: when it fails it is owed to its server, tried again with back-off, and until it has been done nothing is read
 * from that server.
 */
#include "data/cache_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"

#define OWED_PAUSE (100 * HOB_MS)
#define OWED_LONGEST_PAUSE (5 * HOB_S)
#define EXPIRED (-1) /* a ttl with which what is stored has gone at once */

static bool invalidates(hob_cache_job_kind kind) {
    return kind == HOB_CACHE_JOB_TOMBSTONE || kind == HOB_CACHE_JOB_DELETE;
}

static hob_text key_of(const hob_cache_job *job) {
    return (hob_text){job->envelope + HOB_CACHE_HEADER, job->key_size};
}

/* ---- Into the queue ---- */

static time_t ttl_in_seconds(int64_t ns) {
    int64_t s = (int64_t)((double)ns * hob__jitter(0.1) / (double)HOB_S);
    return s < 1 ? 1 : s > HOB_CACHE_TTL_MAX_S ? HOB_CACHE_TTL_MAX_S : (time_t)s;
}

static hob_cache_job *new_job(hob_cache_job_kind kind, hob_text key, uint64_t lease, hob_text payload) {
    size_t size = hob__cache_value_size(key, payload);
    hob_cache_job *job = malloc(sizeof *job + size);
    if (!job)
        return NULL;
    *job = (hob_cache_job){.kind = kind, .lease = lease, .key_size = key.size, .size = size};
    bool tombstone = kind == HOB_CACHE_JOB_TOMBSTONE;
    hob_cache_entry entry = {.kind = tombstone ? HOB_CACHE_TOMBSTONE : HOB_CACHE_VALUE,
                             .id = lease ? lease : hob__cache_new_id(),
                             .payload = payload};
    hob__cache_value_write(job->envelope, &entry, key);
    return job;
}

static void tell_waiter(hob_cache_job *job, bool succeeded) {
    if (!job->waiter)
        return;
    job->waiter->job = NULL;
    job->waiter->succeeded = succeeded;
    hob__task_wake(job->waiter->task);
    job->waiter = NULL;
}

static void end_job(hob_cache_job *job, bool succeeded) {
    tell_waiter(job, succeeded);
    free(job);
}

/* Until everything the server may hold has expired. */
static int64_t all_expired_at(const hob_cache *cache) {
    return hob__loop_now(cache->loop) + cache->longest_ttl + cache->longest_ttl / 8 + HOB_S;
}

static void shun(hob_cache *cache, hob_cache_server *server, const char *why) {
    bool said = hob__loop_now(cache->loop) < server->shunned_until;
    server->shunned_until = all_expired_at(cache);
    cache->counters.failures++;
    if (!said)
        hob__log(HOB_LOG_ERROR, "cache server %s: an entry could not be invalidated (%s); not read from for %d s",
                 server->host, why, (int)(cache->longest_ttl / HOB_S));
}

static void owe(hob_cache *cache, hob_cache_job *job) {
    hob_cache_server *server = job->server;
    tell_waiter(job, false);
    if (server->owed_count == HOB_CACHE_OWED_MAX) {
        shun(cache, server, "too many are waiting");
        free(job);
        return;
    }
    if (server->owed_count == 0) {
        server->owed_pause = OWED_PAUSE;
        server->owed_retry_at = hob__loop_now(cache->loop) + OWED_PAUSE;
    }
    job->expires = job->kind == HOB_CACHE_JOB_DELETE ? all_expired_at(cache)
                                                     : hob__loop_now(cache->loop) + cache->tombstone_ttl * HOB_S;
    STAILQ_INSERT_TAIL(&server->owed, job, entry);
    server->owed_count++;
}

/* Not even tried. */
static void skip(hob_cache *cache, hob_cache_job *job) {
    cache->counters.skipped++;
    if (invalidates(job->kind))
        owe(cache, job);
    else
        end_job(job, false);
}

static bool has_room(hob_cache *cache, size_t size) {
    bool room = cache->fill_count < HOB_CACHE_QUEUE_JOBS && size <= HOB_CACHE_QUEUE_BYTES - cache->fill_bytes;
    if (!room) {
        cache->counters.skipped++;
        if (!cache->fills_dropped)
            hob__log(HOB_LOG_WARN, "cache: more to keep than can be written; some is not kept");
    }
    cache->fills_dropped = !room;
    return room;
}

/* Nothing overtakes what is owed: a fill might be the very one that the owed delete should have voided, and a tombstone
 * set behind its own delete would be in the way until it expires. */
static bool must_wait(const hob_cache_server *server) {
    return server->owed_count > 0 || hob__cache_breaker_open(&server->links[HOB_CACHE_WRITES].breaker);
}

static void enqueue(hob_cache *cache, hob_cache_job *job) {
    if (must_wait(job->server)) {
        skip(cache, job);
        return;
    }
    if (invalidates(job->kind)) {
        STAILQ_INSERT_TAIL(&cache->urgent, job, entry);
    } else {
        STAILQ_INSERT_TAIL(&cache->fills, job, entry);
        cache->fill_count++;
        cache->fill_bytes += job->size;
    }
    hob__cache_wake(&cache->writer);
}

bool hob__cache_write(hob_cache *cache, hob_cache_job_kind kind, hob_text key, hob_cache_lease lease, hob_text payload,
                      int64_t ttl, hob_cache_job_waiter *waiter) {
    hob_cache_server *server = hob__cache_server_of(cache, key);
    ttl = ttl < HOB_CACHE_TTL_MAX_S * HOB_S ? ttl : HOB_CACHE_TTL_MAX_S * HOB_S;
    if (!invalidates(kind) && !has_room(cache, hob__cache_value_size(key, payload)))
        return false;
    hob_cache_job *job = new_job(kind, key, lease.id, payload);
    if (!job) {
        if (invalidates(kind))
            shun(cache, server, "out of memory");
        else
            hob__log(HOB_LOG_ERROR, "cache: out of memory; a value is not kept");
        return false;
    }
    job->server = server;
    job->ttl = kind == HOB_CACHE_JOB_TOMBSTONE ? cache->tombstone_ttl : ttl_in_seconds(ttl);
    cache->longest_ttl = ttl > cache->longest_ttl ? ttl : cache->longest_ttl;
    job->waiter = waiter;
    if (waiter)
        waiter->job = job;
    enqueue(cache, job);
    return true;
}

/* ---- One job ---- */

typedef struct standing {
    bool anything, foreign;
    uint64_t lease; /* of a placeholder; 0: it is none */
    uint64_t cas;
} standing;

static memcached_return_t look(hob_cache_link *link, hob_text key, standing *found) {
    hob_cache_entry entry;
    memcached_return_t rc = memcached_mget(link->handle, &key.data, &key.size, 1);
    *found = (standing){0};
    if (rc != MEMCACHED_SUCCESS)
        return rc;
    while (memcached_fetch_result(link->handle, &link->result, &rc)) {
        const memcached_result_st *result = &link->result;
        hob_text got = {memcached_result_key_value(result), memcached_result_key_length(result)};
        if (!hob_text_equal(got, key))
            return MEMCACHED_PROTOCOL_ERROR;
        hob_text stored = {memcached_result_value(result), memcached_result_length(result)};
        *found = (standing){.anything = true, .cas = memcached_result_cas(result)};
        found->foreign = !hob__cache_value_read(stored, key, &entry);
        if (!found->foreign && entry.kind == HOB_CACHE_PLACEHOLDER)
            found->lease = entry.id;
    }
    return hob__cache_fetch_end(link, rc);
}

static memcached_return_t expire(hob_cache_link *link, hob_text key, uint64_t cas) {
    return memcached_cas(link->handle, key.data, key.size, "", 0, EXPIRED, 0, cas);
}

/* CAS numbers start anew with the server, so the same number proves nothing; the id in the placeholder does, and the
 * number only that nothing came between this look and the write. */
static memcached_return_t fill(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job) {
    hob_text key = key_of(job);
    standing found;
    memcached_return_t rc = look(link, key, &found);
    if (!hob__cache_answered(rc))
        return rc;
    if (found.lease != job->lease) {
        cache->counters.voided++;
        return rc;
    }
    rc = memcached_cas(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0, found.cas);
    if (rc == MEMCACHED_SUCCESS) {
        cache->counters.fills++;
    } else if (rc == MEMCACHED_DATA_EXISTS || rc == MEMCACHED_NOTFOUND) {
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
    memcached_return_t rc = look(link, key_of(job), &found);
    return hob__cache_answered(rc) && found.lease == job->lease ? expire(link, key_of(job), found.cas) : rc;
}

static memcached_return_t clear(hob_cache_link *link, const hob_cache_job *job) {
    standing found;
    memcached_return_t rc = look(link, key_of(job), &found);
    return hob__cache_answered(rc) && found.foreign ? expire(link, key_of(job), found.cas) : rc;
}

static memcached_return_t perform(hob_cache *cache, hob_cache_link *link, const hob_cache_job *job) {
    hob_text key = key_of(job);
    switch (job->kind) {
    case HOB_CACHE_JOB_FILL:
        return fill(cache, link, job);
    case HOB_CACHE_JOB_GIVE_UP:
        return give_up(link, job);
    case HOB_CACHE_JOB_CLEAR:
        return clear(link, job);
    case HOB_CACHE_JOB_TOMBSTONE:
        return memcached_set(link->handle, key.data, key.size, job->envelope, job->size, job->ttl, 0);
    case HOB_CACHE_JOB_DELETE:
        return memcached_delete(link->handle, key.data, key.size, 0);
    }
    return MEMCACHED_FAILURE;
}

/* A tombstone must stand; a delete has done its work too when there was nothing. */
static bool achieved(hob_cache *cache, const hob_cache_job *job, memcached_return_t rc) {
    if (job->kind == HOB_CACHE_JOB_TOMBSTONE && rc == MEMCACHED_SUCCESS)
        cache->counters.tombstones++;
    else if (job->kind == HOB_CACHE_JOB_DELETE && (rc == MEMCACHED_SUCCESS || rc == MEMCACHED_NOTFOUND))
        cache->counters.deletes++;
    else
        return !invalidates(job->kind) && hob__cache_answered(rc);
    return true;
}

static bool run(hob_cache *cache, const hob_cache_job *job) {
    hob_cache_link *link = &job->server->links[HOB_CACHE_WRITES];
    memcached_return_t rc = perform(cache, link, job);
    if (hob__cache_link_lost(link, rc))
        rc = perform(cache, link, job);
    bool done = achieved(cache, job, rc);
    if (!done && hob__cache_answered(rc)) {
        cache->counters.failures++;
        hob__log(HOB_LOG_WARN, "cache server %s: not invalidated: %s", job->server->host, memcached_strerror(NULL, rc));
    }
    hob__cache_link_settle(cache, job->server, HOB_CACHE_WRITES, rc);
    return done;
}

/* ---- The queues ---- */

static void run_queued(hob_cache *cache, hob_cache_job *job) {
    if (must_wait(job->server) || !job->server->links[HOB_CACHE_WRITES].handle) {
        skip(cache, job);
        return;
    }
    bool done = run(cache, job);
    if (!done && invalidates(job->kind))
        owe(cache, job);
    else
        end_job(job, done);
}

static void settle_owed(hob_cache_server *server) {
    hob_cache_job *job = STAILQ_FIRST(&server->owed);
    STAILQ_REMOVE_HEAD(&server->owed, entry);
    server->owed_count--;
    server->owed_pause = OWED_PAUSE;
    end_job(job, true);
}

static void run_owed(hob_cache *cache, hob_cache_server *server) {
    hob_cache_job *job = STAILQ_FIRST(&server->owed);
    if (hob__loop_now(cache->loop) >= job->expires || run(cache, job)) {
        settle_owed(server);
        return;
    }
    int64_t pause = 2 * server->owed_pause;
    server->owed_pause = pause < OWED_LONGEST_PAUSE ? pause : OWED_LONGEST_PAUSE;
    server->owed_retry_at = hob__loop_now(cache->loop) + (int64_t)((double)server->owed_pause * hob__jitter(0.2));
}

/* A server to which something owed may be tried now; else *due is when. */
static hob_cache_server *debtor(hob_cache *cache, int64_t *due) {
    for (size_t i = 0; i < cache->server_count; i++) {
        hob_cache_server *server = &cache->servers[i];
        if (server->owed_count == 0 || !hob__cache_link_usable(&server->links[HOB_CACHE_WRITES]))
            continue; /* the probe says when it is back */
        if (hob__loop_now(cache->loop) >= server->owed_retry_at)
            return server;
        *due = server->owed_retry_at < *due ? server->owed_retry_at : *due;
    }
    return NULL;
}

static hob_cache_job *take(hob_cache *cache) {
    hob_cache_job *job = STAILQ_FIRST(&cache->urgent);
    if (job) {
        STAILQ_REMOVE_HEAD(&cache->urgent, entry);
        return job;
    }
    job = STAILQ_FIRST(&cache->fills);
    if (job) {
        STAILQ_REMOVE_HEAD(&cache->fills, entry);
        cache->fill_count--;
        cache->fill_bytes -= job->size;
    }
    return job;
}

/* Whether there was anything to do. */
static bool work(hob_cache *cache, int64_t *due) {
    hob_cache_server *server = STAILQ_EMPTY(&cache->urgent) ? debtor(cache, due) : NULL;
    if (server) {
        run_owed(cache, server);
        return true;
    }
    hob_cache_job *job = take(cache);
    if (job)
        run_queued(cache, job);
    return job != NULL;
}

void hob__cache_drop_jobs(hob_cache *cache) {
    size_t lost = 0;
    hob_cache_job *job;
    while ((job = take(cache))) {
        lost += invalidates(job->kind);
        end_job(job, false);
    }
    for (size_t i = 0; i < cache->server_count; i++) {
        lost += cache->servers[i].owed_count;
        while (cache->servers[i].owed_count)
            settle_owed(&cache->servers[i]);
    }
    if (lost)
        hob__log(HOB_LOG_ERROR, "cache: stopped with %zu entries not invalidated; they may be stale until they expire",
                 lost);
}

void hob__cache_writer_service(hob_task *task) {
    hob_cache *cache = ((hob_cache_service *)task)->cache;
    while (hob__loop_now(cache->loop) < cache->stop_by) {
        int64_t due = hob__cache_tend(cache, HOB_CACHE_WRITES);
        if (work(cache, &due))
            (void)hob__task_yield(task); /* a server quicker than our polls would keep the loop here */
        else if (hob__cache_stopping(cache))
            break;
        else
            hob__cache_idle(&cache->writer, due);
    }
    hob__cache_drop_jobs(cache);
    hob__cache_service_ended(&cache->writer);
}
