/* What a handler sees of its request. A branch of a group has a hob_ctx of its own: own task, own response, the rest
 * shared. */
#ifndef HOB_HTTP_CTX_H
#define HOB_HTTP_CTX_H

#include "http/request.h"
#include "http/response.h"
#include "http/router.h"
#include "run/task.h"

struct hob_services; /* handler/services.h: database, cache, settings; opaque here */

typedef struct hob_ctx_value {
    const void *key;
    void *value;
    struct hob_ctx_value *next;
} hob_ctx_value;

struct hob_ctx {
    hob_task *task;
    hob_arena *arena;
    hob_request *request;
    hob_response *response;
    const hob_match *match;
    struct hob_services *services;
    const struct hob_config *config;
    hob_ctx_value *values;
    void *transaction; /* data/db's, inside hob_db_tx */
    /* Keys to delete when the request is over (handler/cached.c); on the request's ctx, not a branch's. */
    struct hob_forget *forgets;
    bool no_store;   /* what the load under way answers is not kept (handler/cached.c) */
    hob_ctx *parent; /* of a branch; NULL for the request itself */
};

_Static_assert(sizeof(hob_match) < 1024, "a match lives on the fiber's stack");

struct hob_chain {
    hob_middleware *const *rest;
    hob_handler *handler;
};

/* Routes the request, runs middlewares and handler, and leaves a complete answer in ctx->response, whatever happens:
 * 404, 405, OPTIONS, the request's own fault, memory that ran out (503), a status without an answer (500). Fills
 * ctx->match. */
void hob__serve(const hob_application *application, hob_ctx *ctx, hob_match *match);
/* Makes the answer agree with the status a handler returned: 503 when memory ran out, 500 when nothing or something
 * else was answered. Returns the status of the answer. */
int hob__settle(hob_ctx *ctx, int status);

#endif
