/*
 * One hob__cache_get: the key, and the generations of the entities that its value depends on, asked for together.
 */
#include "data/cache_private.h"

/* A look-up may wait behind another exchange, then for a connection that proves dead, then for its own. More only when
 * the loop itself is held up; then the answer would come late, but come. */
#define PATIENCE 3 /* times the timeout */

/* How long to wait, ms, between looks at somebody else's placeholder: 94 in all. */
static const int64_t WAITS[] = {2, 4, 8, 16, 32, 32};

typedef struct part {
    hob_cache_lookup lookup;
    char key[HOB_CACHE_KEY_MAX];
} part;

typedef struct question {
    hob_cache *cache;
    hob_task *task;
    size_t count; /* of the entities */
    part value;
    part *entities; /* in the task's arena: most questions have none, and stacks are precious */
} question;

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

/* The value's, then the entities'; NULL at the end. */
static hob_cache_lookup *lookup_at(question *q, size_t i) {
    if (i == 0)
        return &q->value.lookup;
    return i <= q->count ? &q->entities[i - 1].lookup : NULL;
}

static void pose(question *q, part *part, hob_cache_space space, hob_text key) {
    hob_cache_lookup *lookup = &part->lookup;
    lookup->task = q->task;
    lookup->key = hob__cache_whole_key(q->cache, space, key, part->key);
    lookup->generation = space == HOB_CACHE_GENERATIONS;
    lookup->server = hob__cache_server_of(q->cache, lookup->key);
}

/* When the last that is still waited for runs out of patience; 0: nothing is. */
static int64_t patience(question *q) {
    int64_t until = 0;
    hob_cache_lookup *lookup;
    for (size_t i = 0; (lookup = lookup_at(q, i)); i++)
        if (!lookup->done && lookup->until > until)
            until = lookup->until;
    return until;
}

static void ask(question *q) {
    hob_cache_lookup *lookup;
    for (size_t i = 0; (lookup = lookup_at(q, i)); i++) {
        lookup->until = hob__loop_now(q->cache->loop) + PATIENCE * q->cache->timeout;
        hob__cache_lookup_add(lookup);
    }
    for (int64_t until; !gone(q->task) && hob__loop_now(q->cache->loop) < (until = patience(q));)
        (void)hob__task_park(q->task, until);
    for (size_t i = 0; (lookup = lookup_at(q, i)); i++) {
        if (lookup->done)
            continue;
        hob__cache_lookup_leave(lookup);
        lookup->found = HOB_CACHE_FOUND_FAILURE;
    }
}

/* Before asking, and again behind the answer: it may have been on its way while somebody failed to invalidate it. */
static bool readable(question *q) {
    hob_cache_lookup *lookup;
    for (size_t i = 0; (lookup = lookup_at(q, i)); i++) {
        if (hob__cache_readable(q->cache, lookup->server))
            continue;
        hob__cache_suspect(q->cache, lookup->server);
        return false;
    }
    return true;
}

static bool generations_known(const question *q) {
    for (size_t i = 0; i < q->count; i++)
        if (q->entities[i].lookup.found != HOB_CACHE_FOUND_VALUE)
            return false;
    return true;
}

static bool up_to_date(const question *q) {
    const hob_cache_lookup *value = &q->value.lookup;
    if (value->generation_count != q->count)
        return false;
    for (size_t i = 0; i < q->count; i++)
        if (q->entities[i].lookup.id != value->generations[i])
            return false;
    return true;
}

static void give_up(const question *q, uint64_t claim) {
    (void)hob__cache_write(q->cache, HOB_CACHE_JOB_GIVE_UP, q->value.lookup.key, claim, NULL, 0, NULL);
}

/* A value that is out of date becomes our placeholder, unless somebody else was quicker. */
static hob_cache_found take_over(question *q) {
    hob_cache_lookup *value = &q->value.lookup;
    hob_cache_entry placeholder = {.kind = HOB_CACHE_PLACEHOLDER, .id = hob__cache_new_id()};
    hob_cache_job_waiter waiter = {.task = q->task};
    q->cache->counters.outdated++;
    if (hob__cache_breaker_open(&value->server->links[HOB_CACHE_WRITES].breaker) ||
        !hob__cache_write(q->cache, HOB_CACHE_JOB_TAKE_OVER, value->key, value->id, &placeholder,
                          HOB_CACHE_LEASE_S * HOB_S, &waiter))
        return HOB_CACHE_FOUND_NONE;
    if (hob__cache_await(q->cache, &waiter)) {
        value->claim = placeholder.id;
        return HOB_CACHE_FOUND_LEASE;
    }
    if (gone(q->task))
        give_up(q, placeholder.id); /* behind the job, should it still be done */
    return HOB_CACHE_FOUND_OTHERS;
}

static hob_cache_found judge(question *q) {
    hob_cache_lookup *value = &q->value.lookup;
    bool known = generations_known(q);
    switch (value->found) {
    case HOB_CACHE_FOUND_VALUE:
    case HOB_CACHE_FOUND_ABSENCE:
        if (!known)
            return HOB_CACHE_FOUND_NONE;
        return up_to_date(q) ? value->found : take_over(q);
    case HOB_CACHE_FOUND_LEASE:
        if (known)
            return HOB_CACHE_FOUND_LEASE;
        give_up(q, value->claim);
        return HOB_CACHE_FOUND_NONE;
    case HOB_CACHE_FOUND_OTHERS:
        return q->cache->waited_out[value->id % HOB_CACHE_WAITED_OUT] == value->id ? HOB_CACHE_FOUND_NONE
                                                                                   : HOB_CACHE_FOUND_OTHERS;
    default:
        return value->found;
    }
}

/* Looks again and again while somebody else loads. One that takes too long is waited for once. */
static hob_cache_found look_up(question *q) {
    for (size_t i = 0;; i++) {
        if (!readable(q)) {
            q->cache->counters.skipped++;
            return HOB_CACHE_FOUND_FAILURE;
        }
        ask(q);
        hob_cache_found found = judge(q);
        if (found != HOB_CACHE_FOUND_OTHERS)
            return found;
        if (i == sizeof WAITS / sizeof *WAITS) {
            uint64_t id = q->value.lookup.id;
            q->cache->waited_out[id % HOB_CACHE_WAITED_OUT] = id;
            return HOB_CACHE_FOUND_NONE;
        }
        if (!sleep_ms(q->task, WAITS[i]))
            return HOB_CACHE_FOUND_NONE;
    }
}

static void take_lease(const question *q, hob_cache_lease *lease) {
    lease->id = q->value.lookup.claim;
    lease->count = q->count;
    for (size_t i = 0; i < q->count; i++)
        lease->generations[i] = q->entities[i].lookup.id;
}

static hob_cache_result conclude(question *q, hob_cache_found found, hob_text *value, hob_cache_lease *lease) {
    hob_cache_counters *counters = &q->cache->counters;
    bool hit = found == HOB_CACHE_FOUND_VALUE || found == HOB_CACHE_FOUND_ABSENCE;
    if (hit && q->value.lookup.value.data && readable(q)) {
        counters->hits++;
        counters->absences += found == HOB_CACHE_FOUND_ABSENCE;
        *value = q->value.lookup.value;
        return found == HOB_CACHE_FOUND_ABSENCE ? HOB_CACHE_ABSENT : HOB_CACHE_HIT;
    }
    counters->misses += !hit && found != HOB_CACHE_FOUND_FAILURE;
    if (found == HOB_CACHE_FOUND_LEASE) { /* even when the task is gone: its load will fail and give the lease back */
        counters->leases++;
        take_lease(q, lease);
        return HOB_CACHE_FILL;
    }
    return gone(q->task) ? HOB_CACHE_GONE : HOB_CACHE_LOAD;
}

static bool all_good(hob_text key, const hob_text *entities, size_t count) {
    bool good = hob__cache_key_good(key) && count <= HOB_CACHE_ENTITIES_MAX;
    for (size_t i = 0; good && i < count; i++)
        good = hob__cache_key_good(entities[i]);
    return good;
}

hob_cache_result hob__cache_get(hob_cache *cache, hob_task *task, hob_text key, const hob_text *entities, size_t count,
                                hob_text *value, hob_cache_lease *lease) {
    question q;
    *value = (hob_text){0};
    lease->id = 0;
    if (gone(task))
        return HOB_CACHE_GONE;
    if (!all_good(key, entities, count) || !hob__cache_begin(cache, task))
        return HOB_CACHE_LOAD;
    q.cache = cache;
    q.task = task;
    q.count = count;
    q.entities = count ? hob__arena_alloc(task->arena, count * sizeof *q.entities) : NULL;
    if (count && !q.entities)
        return HOB_CACHE_LOAD;
    pose(&q, &q.value, HOB_CACHE_KEYS, key);
    for (size_t i = 0; i < count; i++)
        pose(&q, &q.entities[i], HOB_CACHE_GENERATIONS, entities[i]);
    cache->counters.lookups++;
    return conclude(&q, look_up(&q), value, lease);
}
