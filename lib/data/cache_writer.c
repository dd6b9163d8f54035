/*
 * Writes to one server: done behind the answer, in batches; tombstones and deletes go first. What invalidates
 * is never given up: when it fails it is owed to the server, tried again with back-off, and until it has been done no
 * worker of the service reads from that server. What is owed but not known by key any more, a flush makes good.
 */
#include "data/cache_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"

#define BATCH_BYTES ((size_t)64 * 1024)
#define OWED_PAUSE (100 * HOB_MS)
#define OWED_LONGEST_PAUSE (5 * HOB_S)
#define SUSPECT_PAUSE (100 * HOB_MS)
#define FLUSH_PATIENCE (30 * HOB_S) /* beyond any exchange, so its worker has died or hangs */

/* ---- Debts ---- */

static void enter_debt(hob_cache *cache, hob_cache_job *job) {
    job->server->debt_count += !job->entered;
    job->entered = true;
    hob__cache_debts_enter(job->server->debts, cache->slot);
}

static void tell_waiter(hob_cache_job *job, bool succeeded) {
    if (!job->waiter)
        return;
    job->waiter->job = NULL;
    job->waiter->succeeded = succeeded;
    hob__task_wake(job->waiter->task);
    job->waiter = NULL;
}

static void end_job(hob_cache *cache, hob_cache_job *job, bool succeeded) {
    if (job->entered && --job->server->debt_count == 0)
        hob__cache_debts_clear(job->server->debts, cache->slot);
    tell_waiter(job, succeeded);
    free(job);
}

static hob_cache_job *take_owed(hob_cache_server *server) {
    hob_cache_job *job = STAILQ_FIRST(&server->owed);
    STAILQ_REMOVE_HEAD(&server->owed, entry);
    server->owed_count--;
    server->owed_pause = OWED_PAUSE;
    return job;
}

/* Of which nothing can be remembered. */
static void orphan_debt(hob_cache *cache, hob_cache_server *server, const char *why) {
    hob__cache_debts_orphan(server->debts, cache->slot);
    if (server->debt_count)
        hob__cache_debts_enter(server->debts, cache->slot);
    cache->counters.failures++;
    hob__log(HOB_LOG_ERROR, "cache server %s: an invalidation cannot be kept (%s); it will be flushed", server->host,
             why);
    server->suspected_at = 0;
    hob__cache_suspect(cache, server);
}

static void owe(hob_cache *cache, hob_cache_job *job) {
    hob_cache_server *server = job->server;
    enter_debt(cache, job);
    tell_waiter(job, false);
    if (server->owed_count == HOB_CACHE_OWED_MAX) {
        orphan_debt(cache, server, "too many are waiting");
        while (server->owed_count)
            end_job(cache, take_owed(server), true);
    }
    if (server->owed_count == 0) {
        server->owed_pause = OWED_PAUSE;
        server->owed_retry_at = hob__loop_now(cache->loop) + OWED_PAUSE;
    }
    STAILQ_INSERT_TAIL(&server->owed, job, entry);
    server->owed_count++;
}

/* ---- Into the queue ---- */

static time_t ttl_in_seconds(int64_t ns) {
    int64_t s = (int64_t)((double)ns * hob__jitter(0.1) / (double)HOB_S);
    return s < 1 ? 1 : s > HOB_CACHE_TTL_MAX_S ? HOB_CACHE_TTL_MAX_S : (time_t)s;
}

static hob_cache_job *new_job(hob_cache_job_kind kind, hob_text key, uint64_t id, const hob_cache_entry *entry) {
    size_t size = hob__cache_value_size(entry, key);
    hob_cache_job *job = malloc(sizeof *job + size);
    if (!job)
        return NULL;
    *job = (hob_cache_job){.kind = kind, .id = id, .key_size = key.size, .size = size};
    hob__cache_value_write(job->envelope, entry, key);
    return job;
}

/* Not even tried. */
static void skip(hob_cache *cache, hob_cache_job *job) {
    cache->counters.skipped++;
    if (hob__cache_invalidates(job->kind))
        owe(cache, job);
    else
        end_job(cache, job, false);
}

/* What is not kept must still make way for others, so giving up has more room. */
static bool has_room(hob_cache *cache, hob_cache_job_kind kind, size_t size) {
    size_t times = kind == HOB_CACHE_JOB_GIVE_UP ? 4 : 1;
    bool room =
        cache->fill_count < times * HOB_CACHE_QUEUE_JOBS && cache->fill_bytes + size <= times * HOB_CACHE_QUEUE_BYTES;
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
    hob_cache_server *server = job->server;
    if (must_wait(server)) {
        skip(cache, job);
        return;
    }
    if (hob__cache_invalidates(job->kind)) {
        STAILQ_INSERT_TAIL(&server->urgent, job, entry);
    } else {
        STAILQ_INSERT_TAIL(&server->fills, job, entry);
        cache->fill_count++;
        cache->fill_bytes += job->size;
    }
    hob__cache_wake(&server->services[HOB_CACHE_WRITES]);
}

bool hob__cache_write(hob_cache *cache, hob_cache_job_kind kind, hob_text key, uint64_t id,
                      const hob_cache_entry *entry, int64_t ttl, hob_cache_job_waiter *waiter) {
    static const hob_cache_entry none = {.kind = HOB_CACHE_TOMBSTONE, .id = 1};
    hob_cache_server *server = hob__cache_server_of(cache, key);
    entry = entry ? entry : &none;
    bool invalidation = hob__cache_invalidates(kind);
    if (!invalidation && !has_room(cache, kind, hob__cache_value_size(entry, key)))
        return false;
    hob_cache_job *job = new_job(kind, key, id, entry);
    if (!job) {
        if (invalidation)
            orphan_debt(cache, server, "out of memory");
        else
            hob__log(HOB_LOG_ERROR, "cache: out of memory; a value is not kept");
        return false;
    }
    job->server = server;
    job->ttl = invalidation ? cache->tombstone_ttl : ttl_in_seconds(ttl);
    job->waiter = waiter;
    if (waiter)
        waiter->job = job;
    enqueue(cache, job);
    return true;
}

static bool waits(const hob_cache_job_waiter *waiter) {
    const hob_task *task = waiter->task;
    return waiter->job && !task->cancelled && task->deadline > hob__loop_now(task->loop);
}

bool hob__cache_await(hob_cache *cache, hob_cache_job_waiter *waiter) {
    while (waits(waiter))
        (void)hob__task_park(waiter->task, HOB_FOREVER);
    hob_cache_job *job = waiter->job;
    if (job) {
        job->waiter = NULL;
        if (hob__cache_invalidates(job->kind))
            enter_debt(cache, job);
    }
    return waiter->succeeded;
}

/* ---- Out of the queue ---- */

static bool achieved(hob_cache *cache, const hob_cache_job *job) {
    bool succeeded = job->done && job->rc == MEMCACHED_SUCCESS;
    switch (job->kind) {
    case HOB_CACHE_JOB_TOMBSTONE:
        cache->counters.tombstones += succeeded;
        return succeeded;
    case HOB_CACHE_JOB_DELETE:
        cache->counters.deletes += succeeded;
        return succeeded;
    case HOB_CACHE_JOB_TAKE_OVER:
        return succeeded;
    default:
        return job->done;
    }
}

static void perform(hob_cache *cache, hob_cache_server *server, hob_cache_job *const *jobs, size_t count) {
    hob_cache_link *link = &server->links[HOB_CACHE_WRITES];
    for (size_t i = 0; i < count; i++)
        jobs[i]->done = false;
    memcached_return_t rc = hob__cache_perform(cache, link, jobs, count);
    if (hob__cache_link_lost(link, rc))
        rc = hob__cache_perform(cache, link, jobs, count);
    hob__cache_link_settle(cache, server, HOB_CACHE_WRITES, rc);
}

/* What it did, after perform. */
static bool check(hob_cache *cache, const hob_cache_job *job) {
    bool succeeded = achieved(cache, job);
    if (!succeeded && job->done && hob__cache_invalidates(job->kind)) {
        cache->counters.failures++;
        hob__log(HOB_LOG_WARN, "cache server %s: not invalidated: %s", job->server->host,
                 memcached_strerror(NULL, job->rc));
    }
    return succeeded;
}

static void settle(hob_cache *cache, hob_cache_job *job) {
    bool succeeded = check(cache, job);
    if (!succeeded && hob__cache_invalidates(job->kind)) {
        owe(cache, job);
    } else if (!succeeded && job->kind == HOB_CACHE_JOB_FILL) { /* its placeholder is in everybody's way */
        job->kind = HOB_CACHE_JOB_GIVE_UP;
        enqueue(cache, job);
    } else {
        end_job(cache, job, succeeded);
    }
}

static void run_batch(hob_cache *cache, hob_cache_server *server, hob_cache_job *const *jobs, size_t count) {
    bool now = !must_wait(server) && server->links[HOB_CACHE_WRITES].handle;
    if (now)
        perform(cache, server, jobs, count);
    for (size_t i = 0; i < count; i++)
        if (now)
            settle(cache, jobs[i]);
        else
            skip(cache, jobs[i]);
}

/* Out of its list meanwhile: what is owed may be dropped while this waits. */
static void run_owed(hob_cache *cache, hob_cache_server *server) {
    int64_t pause = 2 * server->owed_pause;
    hob_cache_job *job = take_owed(server);
    perform(cache, server, &job, 1);
    if (check(cache, job)) {
        end_job(cache, job, true);
        return;
    }
    STAILQ_INSERT_HEAD(&server->owed, job, entry);
    server->owed_count++;
    server->owed_pause = pause < OWED_LONGEST_PAUSE ? pause : OWED_LONGEST_PAUSE;
    server->owed_retry_at = hob__loop_now(cache->loop) + (int64_t)((double)server->owed_pause * hob__jitter(0.2));
}

static hob_cache_job *first(const hob_cache_server *server) {
    hob_cache_job *job = STAILQ_FIRST(&server->urgent);
    return job ? job : STAILQ_FIRST(&server->fills);
}

static hob_cache_job *take(hob_cache *cache, hob_cache_server *server) {
    hob_cache_job *job = first(server);
    if (job == NULL)
        return NULL;
    if (hob__cache_invalidates(job->kind)) {
        STAILQ_REMOVE_HEAD(&server->urgent, entry);
    } else {
        STAILQ_REMOVE_HEAD(&server->fills, entry);
        cache->fill_count--;
        cache->fill_bytes -= job->size;
    }
    return job;
}

/* Two of one key do not see what the other does: the second waits for the next batch, and all behind it. */
static bool may_join(const hob_cache_job *job, hob_cache_job *const *jobs, size_t count) {
    size_t bytes = job->size;
    for (size_t i = 0; i < count; i++) {
        if (hob_text_equal(hob__cache_job_key(job), hob__cache_job_key(jobs[i])))
            return false;
        bytes += jobs[i]->size;
    }
    return count == 0 || bytes <= BATCH_BYTES;
}

static size_t take_batch(hob_cache *cache, hob_cache_server *server, hob_cache_job *jobs[HOB_CACHE_WRITE_BATCH]) {
    size_t count = 0;
    for (hob_cache_job *job; count < HOB_CACHE_WRITE_BATCH && (job = first(server)) && may_join(job, jobs, count);)
        jobs[count++] = take(cache, server);
    return count;
}

/* ---- Flushing ---- */

void hob__cache_suspect(hob_cache *cache, hob_cache_server *server) {
    int64_t now = hob__loop_now(cache->loop);
    if (now < server->suspected_at + SUSPECT_PAUSE || !hob__cache_debts_any(server->debts))
        return;
    server->suspected_at = now;
    server->suspect = true;
    hob__cache_wake(&server->services[HOB_CACHE_WRITES]);
}

/* Flushed is all that was stored before, and nothing else (memcached goes by CAS numbers). Tombstones too: but a writer
 * is answered only when its delete has been done, so nobody is told of a write that he can then fail to see. */
static void flush(hob_cache *cache, hob_cache_server *server) {
    hob_cache_link *link = &server->links[HOB_CACHE_WRITES];
    uint64_t claim = hob__cache_debts_claim(server->debts, hob__clock_ns(), FLUSH_PATIENCE);
    if (claim == 0)
        return;
    memcached_return_t rc = memcached_flush(link->handle, 0);
    if (hob__cache_link_lost(link, rc))
        rc = memcached_flush(link->handle, 0);
    hob__cache_debts_settle(server->debts, rc == MEMCACHED_SUCCESS ? claim : 0);
    if (rc == MEMCACHED_SUCCESS) {
        cache->counters.flushes++;
        hob__log(HOB_LOG_WARN, "cache server %s: flushed, for it had missed invalidations nobody remembers",
                 server->host);
    }
    hob__cache_link_settle(cache, server, HOB_CACHE_WRITES, rc);
}

/* Whether there was anything to look after. */
static bool look_after_debts(hob_cache *cache, hob_cache_server *server) {
    if (!server->suspect || !hob__cache_link_usable(&server->links[HOB_CACHE_WRITES]))
        return false;
    server->suspect = false;
    hob__cache_shared_bury(cache->shared, server->debts);
    flush(cache, server);
    return true;
}

/* ---- The service ---- */

/* Something is owed and may be tried now; else *due is when. While the breaker is open, the probe says when. */
static bool owed_due(const hob_cache *cache, const hob_cache_server *server, int64_t *due) {
    if (server->owed_count == 0 || !hob__cache_link_usable(&server->links[HOB_CACHE_WRITES]))
        return false;
    if (hob__loop_now(cache->loop) >= server->owed_retry_at)
        return true;
    *due = server->owed_retry_at < *due ? server->owed_retry_at : *due;
    return false;
}

/* Whether there was anything to do. */
static bool work(hob_cache *cache, hob_cache_server *server, int64_t *due) {
    if (look_after_debts(cache, server))
        return true;
    if (STAILQ_EMPTY(&server->urgent) && owed_due(cache, server, due)) {
        run_owed(cache, server);
        return true;
    }
    hob_cache_job *jobs[HOB_CACHE_WRITE_BATCH];
    size_t count = take_batch(cache, server, jobs);
    if (count > 0)
        run_batch(cache, server, jobs, count);
    return count > 0;
}

void hob__cache_drop_jobs(hob_cache *cache, hob_cache_server *server) {
    size_t lost = server->owed_count;
    hob_cache_job *job;
    STAILQ_FOREACH(job, &server->urgent, entry)
    lost++;
    if (lost) {
        hob__cache_debts_orphan(server->debts, cache->slot);
        hob__log(HOB_LOG_ERROR, "cache server %s: stopped with %zu entries not invalidated; the next worker flushes it",
                 server->host, lost);
    }
    while (server->owed_count)
        end_job(cache, take_owed(server), true);
    while ((job = take(cache, server)))
        end_job(cache, job, false);
}

void hob__cache_writer_service(hob_task *task) {
    hob_cache_service *service = (hob_cache_service *)task;
    hob_cache *cache = service->cache;
    hob_cache_server *server = service->server;
    while (hob__loop_now(cache->loop) < cache->stop_by) {
        int64_t due = hob__cache_tend(cache, server, HOB_CACHE_WRITES);
        if (work(cache, server, &due))
            (void)hob__task_yield(task); /* a server quicker than our polls would keep the loop here */
        else if (hob__cache_stopping(cache))
            break;
        else
            hob__cache_idle(service, due);
    }
    hob__cache_drop_jobs(cache, server);
    hob__cache_service_ended(service);
}
