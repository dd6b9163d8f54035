/* A request's ctx made by hand: no front, no loop. */
#ifndef HOB_TEST_HTTP_FIXTURE_H
#define HOB_TEST_HTTP_FIXTURE_H

#include <string.h>

#include "base/config.h"
#include "http/ctx.h"

#define FIXTURE_MEMORY (256 * 1024)

typedef struct fixture {
    hob_arena *arena;
    hob_task task;
    hob_config config;
    hob_request request;
    hob_response response;
    hob_match match;
    hob_ctx ctx;
} fixture;

/* environment: "NAME=value" strings that outlive the fixture. */
static inline hob_ctx *fixture_begin(fixture *f, char *const *environment) {
    memset(f, 0, sizeof *f);
    f->arena = hob__arena_new(FIXTURE_MEMORY);
    assert_non_null(f->arena);
    f->task.arena = f->arena;
    f->task.deadline = HOB_FOREVER;
    f->config.max_body = 1024;
    f->config.request_timeout = 15 * HOB_S;
    hob__request_from_environment(&f->request, f->arena, environment, NULL);
    f->ctx = (hob_ctx){.task = &f->task,
                       .arena = f->arena,
                       .request = &f->request,
                       .response = &f->response,
                       .match = &f->match,
                       .config = &f->config};
    return &f->ctx;
}

static inline hob_ctx *fixture_get(fixture *f, const char *target) {
    static char uri[4096];
    snprintf(uri, sizeof uri, "REQUEST_URI=%s", target);
    return fixture_begin(f, (char *[]){"REQUEST_METHOD=GET", uri, NULL});
}

static inline void fixture_end(fixture *f) {
    hob__arena_free(f->arena);
}

static inline void assert_text(hob_text got, const char *wanted) {
    assert_non_null(got.data);
    assert_int_equal(got.size, strlen(wanted));
    assert_memory_equal(got.data, wanted, got.size);
}

static inline void assert_contains(hob_text text, const char *part) {
    if (!memmem(text.data, text.size, part, strlen(part)))
        fail_msg("'" HOB_FMT "' does not contain '%s'", HOB_ARG(text), part);
}

#endif
