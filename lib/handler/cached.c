/*
 * Read-through: what hob_cached and hob_forget promise, over data/cache.
 *
 * Requests of this worker that want the same key share one look-up or one load, but only while it has not left: a
 * turn's look-ups and queries are sent when its tasks have run, so whoever comes in the same turn came before. Joining
 * later could hand out a value older than a write acknowledged meanwhile.
 *
 * flights holds every look-up or load under way; a flight is its leader's, on its stack, and is open to others in the
 * turn it was last opened in: opened for the look-up, and again for the load after a miss.
 */
#include "handler/cached.h"

#include <string.h>

#include "base/log.h"
#include "handler/services.h"

#define FLIGHT_BUCKETS 1024

typedef struct joiner {
    hob_task *task;
    struct joiner *next;
    hob_text value; /* the body, in the joiner's own arena */
    bool landed;
} joiner;

typedef struct flight {
    hob_text key;
    uint64_t turn;
    hob_loop *loop;
    joiner *joiners;
    struct flight *next;
} flight;

struct hob_forget {
    hob_text key;
    struct hob_forget *next;
};

static flight *flights[FLIGHT_BUCKETS];

/* FNV-1a: keys are the application's own, so nobody can aim at a bucket worth the trouble of a keyed hash. */
static flight **bucket_of(hob_text key) {
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 16777619U;
    return &flights[hash % FLIGHT_BUCKETS];
}

static flight *open_flight(hob_loop *loop, hob_text key) {
    for (flight *f = *bucket_of(key); f; f = f->next)
        if (f->loop == loop && f->turn == hob__loop_turns(loop) && hob_text_equal(f->key, key))
            return f;
    return NULL;
}

static void take_off(flight *f) {
    flight **bucket = bucket_of(f->key);
    f->next = *bucket;
    *bucket = f;
}

/* Hands body to all who joined; no text when there is nothing to share: they then go on their own. */
static void land(flight *f, hob_text body) {
    flight **at = bucket_of(f->key);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    for (joiner *j = f->joiners; j; j = j->next) {
        j->value = hob__arena_copy(j->task->arena, body);
        j->landed = true;
        hob__task_wake(j->task);
    }
}

static void leave(flight *f, joiner *self) {
    joiner **at = &f->joiners;
    while (*at != self)
        at = &(*at)->next;
    *at = self->next;
}

static bool join(hob_ctx *c, flight *f, hob_text *body) {
    joiner self = {.task = c->task, .next = f->joiners};
    f->joiners = &self;
    while (!self.landed) {
        if (hob__task_park(c->task, HOB_FOREVER) == HOB_WAKE_READY || self.landed)
            continue;
        leave(f, &self);
        break;
    }
    *body = self.value;
    return self.value.data != NULL;
}

static int answer(hob_ctx *c, hob_text body) {
    return hob_reply(c, 200, "application/json", body);
}

static int load_and_keep(hob_ctx *c, flight *f, hob_cache_lease lease, int64_t ttl, hob_task_fn *load, void *arg) {
    hob_cache *cache = c->services->cache;
    f->turn = hob__loop_turns(c->task->loop);
    int status = load(c, arg);
    bool good = status == 200 && c->response->body.data && !hob__arena_failed(c->arena);
    hob_text body = good ? c->response->body : (hob_text){0};
    if (lease.id && good)
        hob__cache_fill(cache, f->key, lease, body, ttl);
    else if (lease.id)
        hob__cache_give_up(cache, f->key, lease);
    land(f, body);
    return status;
}

static int lead(hob_ctx *c, hob_text key, int64_t ttl, hob_task_fn *load, void *arg) {
    hob_loop *loop = c->task->loop;
    flight f = {.key = key, .turn = hob__loop_turns(loop), .loop = loop};
    hob_text body = {0};
    hob_cache_lease lease = {0};
    take_off(&f);
    switch (hob__cache_get(c->services->cache, c->task, key, &body, &lease)) {
    case HOB_CACHE_HIT:
        land(&f, body);
        return answer(c, body);
    case HOB_CACHE_FILL:
    case HOB_CACHE_LOAD:
        return load_and_keep(c, &f, lease, ttl, load, arg);
    case HOB_CACHE_GONE:
        break;
    }
    land(&f, (hob_text){0});
    return hob_problem(c, 504, "the deadline passed");
}

int hob_cached(hob_ctx *c, hob_text key, int64_t ttl_s, hob_task_fn *load, void *arg) {
    if (!c->services->cache || !hob__cache_key_good(key)) {
        if (key.data && !hob__cache_key_good(key))
            hob__log(HOB_LOG_ERROR, "not a cache key: '" HOB_FMT "'", HOB_ARG(key));
        return load(c, arg);
    }
    hob_text body;
    flight *f = open_flight(c->task->loop, key);
    if (f && join(c, f, &body))
        return answer(c, body);
    return lead(c, key, ttl_s > 0 ? ttl_s * HOB_S : c->config->cache_ttl, load, arg);
}

hob_text hob_key(hob_ctx *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hob_text key = hob__arena_vformat(c->arena, format, args);
    va_end(args);
    return key;
}

void hob_forget(hob_ctx *c, hob_text key) {
    if (!c->services->cache || !hob__cache_key_good(key))
        return;
    hob_ctx *request = c;
    while (request->parent)
        request = request->parent;
    struct hob_forget *forget = hob__arena_alloc(c->arena, sizeof *forget);
    if (forget) {
        *forget = (struct hob_forget){.key = key, .next = request->forgets};
        request->forgets = forget;
    } /* else the request is answered 503, and the tombstone runs out by itself */
    (void)hob__cache_tombstone(c->services->cache, c->task, key);
}

void hob__forget_all(hob_ctx *c) {
    for (struct hob_forget *forget = c->forgets; forget; forget = forget->next)
        hob__cache_delete(c->services->cache, forget->key);
}
