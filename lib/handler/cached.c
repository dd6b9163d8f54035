/*
 * Read-through: what hob_cached and hob_forget promise, over data/cache.
 *
 * Requests of this worker that want the same key share one look-up or one load, but only while it has not left: a
 * turn's look-ups and queries are sent when its tasks have run, so whoever comes in the same turn came before. Joining
 * later could hand out a value older than a write acknowledged meanwhile. Whoever has to load without a lease while
 * another of this worker loads the same waits for its end and shares the next load with all the others who waited.
 *
 * flights holds every look-up or load under way; a flight is its leader's, on its stack, and is open to others in the
 * turn it was last opened in: opened for the look-up, and again for the load after a miss.
 */
#include "handler/cached.h"

#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "handler/services.h"

#define FLIGHT_BUCKETS 1024
#define LOAD_PATIENCE (5 * HOB_S) /* how long to wait for another's load before making an own */

/* What the cache keeps of an answer. */
typedef struct kept {
    hob_text text; /* the body, or the detail of a 404; no text: nothing */
    bool absent;
} kept;

typedef struct joiner {
    hob_task *task;
    struct joiner *next;
    bool late; /* may not have what comes, but wants to know when */
    bool landed;
    kept kept; /* in the joiner's own arena */
} joiner;

typedef struct flight {
    hob_text key;
    uint64_t turn;
    hob_loop *loop;
    bool loading;
    joiner *joiners;
    struct flight *next;
} flight;

/* One call of hob_cached_on. */
typedef struct want {
    hob_text key;
    const hob_text *entities;
    size_t count;
    int64_t ttl;
    hob_task_fn *load;
    void *arg;
} want;

struct hob_forget {
    hob_text key;
    uint64_t id;
    struct hob_forget *next;
};

static flight *flights[FLIGHT_BUCKETS];

/* Keys are the application's own, so nobody can aim at a bucket worth the trouble of a keyed hash. */
static flight **bucket_of(hob_text key) {
    return &flights[hob__text_hash(key) % FLIGHT_BUCKETS];
}

static bool is_open(const flight *f) {
    return f->turn == hob__loop_turns(f->loop);
}

static flight *find(hob_loop *loop, hob_text key, bool (*wanted)(const flight *f)) {
    for (flight *f = *bucket_of(key); f; f = f->next)
        if (f->loop == loop && wanted(f) && hob_text_equal(f->key, key))
            return f;
    return NULL;
}

static bool is_loading(const flight *f) {
    return f->loading;
}

static void take_off(flight *f) {
    flight **bucket = bucket_of(f->key);
    f->next = *bucket;
    *bucket = f;
}

/* Hands what there is to all who joined; no text when there is nothing to share: they then go on their own. */
static void land(flight *f, kept what) {
    flight **at = bucket_of(f->key);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    for (joiner *j = f->joiners; j; j = j->next) {
        if (!j->late)
            j->kept = (kept){hob__arena_copy(j->task->arena, what.text), what.absent};
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

/* false: it has not landed until then, or the task is gone. */
static bool await(flight *f, joiner *self, int64_t until) {
    self->next = f->joiners;
    f->joiners = self;
    while (!self->landed) {
        if (hob__task_park(self->task, until) == HOB_WAKE_READY || self->landed)
            continue;
        leave(f, self);
        return false;
    }
    return true;
}

static bool join(hob_ctx *c, flight *f, kept *what) {
    joiner self = {.task = c->task};
    (void)await(f, &self, HOB_FOREVER);
    *what = self.kept;
    return what->text.data != NULL;
}

/* Behind the load that is under way; whoever is first makes the next one, and gets false. */
static bool share_next_load(hob_ctx *c, hob_text key, kept *what) {
    int64_t until = hob__loop_now(c->task->loop) + LOAD_PATIENCE;
    for (flight *f; (f = find(c->task->loop, key, is_loading));) {
        joiner self = {.task = c->task, .late = true};
        if (is_open(f))
            return join(c, f, what);
        if (!await(f, &self, until))
            return false;
    }
    return false;
}

static int answer(hob_ctx *c, kept what) {
    if (what.absent)
        return hob__response_problem(c->response, c->arena, 404, c->request->id, what.text);
    return hob_reply(c, 200, "application/json", what.text);
}

static kept keepable(const hob_ctx *c, int status) {
    const hob_response *response = c->response;
    if (c->no_store || status != response->status || hob__arena_failed(c->arena))
        return (kept){0};
    if (status == 404 && c->config->cache_negative_ttl > 0)
        return (kept){response->problem_detail, true};
    return status == 200 ? (kept){response->body, false} : (kept){0};
}

static int load_and_keep(hob_ctx *c, flight *f, const want *w, const hob_cache_lease *lease) {
    hob_cache *cache = c->services->cache;
    f->turn = hob__loop_turns(f->loop);
    f->loading = true;
    c->no_store = false;
    int status = w->load(c, w->arg);
    kept what = keepable(c, status);
    if (!what.text.data)
        hob__cache_give_up(cache, w->key, *lease);
    else if (what.absent)
        hob__cache_fill_absent(cache, w->key, *lease, what.text, c->config->cache_negative_ttl);
    else
        hob__cache_fill(cache, w->key, *lease, what.text, w->ttl);
    land(f, what);
    return status;
}

/* alone: has shared another's in vain, and will not wait again. */
static int lead(hob_ctx *c, const want *w, bool alone) {
    hob_loop *loop = c->task->loop;
    flight f = {.key = w->key, .turn = hob__loop_turns(loop), .loop = loop};
    kept what = {0};
    hob_cache_lease lease;
    take_off(&f);
    switch (hob__cache_get(c->services->cache, c->task, w->key, w->entities, w->count, &what.text, &lease)) {
    case HOB_CACHE_ABSENT:
        what.absent = true;
        break;
    case HOB_CACHE_LOAD:
        if (!alone && share_next_load(c, w->key, &what))
            break;
        return load_and_keep(c, &f, w, &lease);
    case HOB_CACHE_FILL:
        return load_and_keep(c, &f, w, &lease);
    case HOB_CACHE_HIT:
    case HOB_CACHE_GONE:
        break;
    }
    land(&f, what);
    return what.text.data ? answer(c, what) : hob_problem(c, 504, "the deadline passed");
}

/* Logs what is no key. */
static bool keys_good(const want *w) {
    bool good = w->count <= HOB_CACHE_ENTITIES_MAX;
    if (!good)
        hob__log(HOB_LOG_ERROR, "'" HOB_FMT "' depends on more than %d entities", HOB_ARG(w->key),
                 HOB_CACHE_ENTITIES_MAX);
    for (size_t i = 0; i <= w->count; i++) {
        hob_text key = i < w->count ? w->entities[i] : w->key;
        if (hob__cache_key_good(key))
            continue;
        if (key.data)
            hob__log(HOB_LOG_ERROR, "not a cache key: '" HOB_FMT "'", HOB_ARG(key));
        good = false;
    }
    return good;
}

int hob_cached_on(hob_ctx *c, hob_text key, const hob_text *entities, size_t count, int64_t ttl_s, hob_task_fn *load,
                  void *arg) {
    want w = {.key = key,
              .entities = entities,
              .count = count,
              .ttl = ttl_s > 0 ? ttl_s * HOB_S : c->config->cache_ttl,
              .load = load,
              .arg = arg};
    if (!c->services->cache || !keys_good(&w))
        return load(c, arg);
    kept what;
    flight *f = find(c->task->loop, key, is_open);
    if (f && join(c, f, &what))
        return answer(c, what);
    return lead(c, &w, f != NULL);
}

int hob_cached(hob_ctx *c, hob_text key, int64_t ttl_s, hob_task_fn *load, void *arg) {
    return hob_cached_on(c, key, NULL, 0, ttl_s, load, arg);
}

void hob_no_store(hob_ctx *c) {
    c->no_store = true;
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
    uint64_t id = hob__cache_new_write_id();
    struct hob_forget *forget = hob__arena_alloc(c->arena, sizeof *forget);
    if (forget) {
        *forget = (struct hob_forget){.key = key, .id = id, .next = request->forgets};
        request->forgets = forget;
    } /* else the request is answered 503, and the tombstone runs out by itself */
    (void)hob__cache_tombstone(c->services->cache, c->task, key, id);
}

/* Whether a write was committed that ended in a timeout or a lost connection, nobody knows yet: its tombstones stay
 * until it must have been decided. */
static bool undecided(const hob_ctx *c) {
    return c->response->status >= 499;
}

void hob__forget_all(hob_ctx *c) {
    for (struct hob_forget *forget = c->forgets; forget && !undecided(c); forget = forget->next)
        hob__cache_delete(c->services->cache, c->task, forget->key, forget->id);
}
