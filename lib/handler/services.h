/* What a worker keeps warm for its handlers. */
#ifndef HOB_HANDLER_SERVICES_H
#define HOB_HANDLER_SERVICES_H

#include "base/config.h"
#include "data/cache.h"
#include "data/cache_shared.h"
#include "data/db.h"
#include "http/ctx.h"
#include "run/loop.h"
#include "run/offload.h"

typedef struct hob_services {
    hob_app *app;
    hob_application *application;
    const hob_config *config;
    hob_loop *loop;
    hob_offload_pool *offload;
    hob_db *db;       /* NULL: no database is configured */
    hob_cache *cache; /* NULL: no cache is configured */
    bool draining;
    size_t in_flight;        /* requests being worked on, of all fronts */
    uint64_t served, failed; /* requests answered, and how many of these with 5xx */
} hob_services;

/* What a worker shares with the others of its service, and its place there; {0}: it is alone. */
typedef struct hob_services_shared {
    hob_cache_shared *cache;
    size_t slot;
} hob_services_shared;

/* false: one line in error, and what had been opened is closed again. */
bool hob__services_open(hob_services *services, hob_app *app, const hob_config *config, hob_services_shared shared,
                        char error[256]) HOB_MUST_CHECK;
void hob__services_close(hob_services *services);

/* One request from begin to end, for every front: counts it, serves it in the running task, and leaves the answer in
 * *response. The front sends it, then resets the arena (which still runs in the task: groups end there). Beyond
 * HOB_MAX_IN_FLIGHT, or when it has waited longer than HOB_MAX_QUEUE_TIME: 503 at once. */
void hob__services_serve(hob_services *services, hob_task *task, hob_request *request, hob_response *response);

#endif
