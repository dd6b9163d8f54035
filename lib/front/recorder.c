/* Requests in-process, for tests: the real router, middlewares and handlers in a task on the real loop; only the web
 * server is missing. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "front/front.h"

#define HEADERS_MAX 32
#define LONGEST_TURN (100 * HOB_MS)

struct hob_test_response {
    hob_response response;
    hob_text body; /* what would go over the wire: none for HEAD */
};

typedef struct recorder {
    hob_config config;
    hob_services services;
    hob_arena *arena;
    hob_task task;
    hob_request request;
    hob_test_response recorded;
    const char *body;
    char *environment[HEADERS_MAX + 6];
    size_t environment_count;
    bool done, resetting;
} recorder;

_Noreturn static void give_up(const char *why) {
    fprintf(stderr, "hob_test_request: %s\n", why);
    abort();
}

static recorder *recorder_of(hob_app *app) {
    extern char **environ;
    hob_application *application = hob__application(app);
    recorder *self = application->runtime;
    char error[256];
    if (self)
        return self;
    self = calloc(1, sizeof *self);
    if (!self)
        give_up("out of memory");
    if (!hob__router_compile(app))
        give_up(application->fault);
    if (!hob__config_load(&self->config, environ, error) || !hob__log_open(self->config.log, self->config.log_level) ||
        !hob__services_open(&self->services, app, &self->config, (hob_services_shared){0}, error))
        give_up(error);
    self->arena = hob__arena_new((size_t)self->config.max_request_memory);
    if (!self->arena)
        give_up("out of memory");
    application->runtime = self;
    return self;
}

static void set(recorder *self, const char *name, const char *value) {
    if (self->environment_count + 1 >= sizeof self->environment / sizeof *self->environment)
        give_up("too many headers");
    char *line = NULL;
    if (asprintf(&line, "%s=%s", name, value) < 0)
        give_up("out of memory");
    self->environment[self->environment_count++] = line;
}

static void set_header(recorder *self, const char *name, const char *value) {
    char key[128];
    bool content = strncasecmp(name, "content-", 8) == 0;
    int size = snprintf(key, sizeof key, "%s%s", content ? "" : "HTTP_", name);
    if (size < 0 || (size_t)size >= sizeof key)
        give_up("a header's name is too long");
    for (char *at = key; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    set(self, key, value);
}

static void clear_environment(recorder *self) {
    while (self->environment_count > 0)
        free(self->environment[--self->environment_count]);
    memset(self->environment, 0, sizeof self->environment);
}

static void serve(hob_task *task) {
    recorder *self = hob__container_of(task, recorder, task);
    hob__request_from_environment(&self->request, self->arena, self->environment, self->config.mount);
    self->request.body = hob_text_of(self->body);
    self->request.started = hob__clock_ns();
    if (self->request.body.size > (size_t)self->config.max_body && self->request.fault == HOB_REQUEST_GOOD)
        self->request.fault = HOB_REQUEST_TOO_LARGE;
    hob__services_serve(&self->services, task, &self->request, &self->recorded.response);
    hob_response *response = &self->recorded.response;
    bool body = hob__response_has_body(response, self->request.method);
    self->recorded.body = hob__arena_copy(self->arena, body && response->body.data ? response->body : HOB_TEXT(""));
    self->done = true;
}

/* The arena is emptied in a task, as every front does it: what the last request deferred may have to wait. */
static void reset(hob_task *task) {
    recorder *self = hob__container_of(task, recorder, task);
    hob__arena_reset(self->arena);
    self->done = true;
}

static void run(recorder *self, void (*fn)(hob_task *task)) {
    self->task = (hob_task){.loop = self->services.loop, .arena = self->arena, .deadline = HOB_FOREVER};
    self->done = false;
    if (!hob__task_start(&self->task, fn))
        give_up("no fiber");
    while (!self->done)
        hob__loop_turn(self->services.loop, LONGEST_TURN);
}

const hob_test_response *hob_test_request_with(hob_app *app, const char *method, const char *target,
                                               const hob_test_header *headers, const char *body) {
    recorder *self = recorder_of(app);
    bool typed = false;
    char length[24];
    run(self, reset);
    clear_environment(self);
    set(self, "REQUEST_METHOD", method);
    set(self, "REQUEST_URI", target);
    set(self, "REMOTE_ADDR", "127.0.0.1");
    for (const hob_test_header *header = headers; header && header->name; header++) {
        set_header(self, header->name, header->value);
        typed = typed || strcasecmp(header->name, "content-type") == 0;
    }
    if (body && !typed)
        set(self, "CONTENT_TYPE", "application/json");
    snprintf(length, sizeof length, "%zu", body ? strlen(body) : 0);
    if (body)
        set(self, "CONTENT_LENGTH", length);
    self->body = body;
    run(self, serve);
    return &self->recorded;
}

const hob_test_response *hob_test_request(hob_app *app, const char *method, const char *target, const char *body) {
    return hob_test_request_with(app, method, target, NULL, body);
}

int hob_test_status(const hob_test_response *r) {
    return r->response.status;
}

const char *hob_test_body(const hob_test_response *r) {
    return r->body.data ? r->body.data : "";
}

const char *hob_test_header_of(const hob_test_response *r, const char *name) {
    return hob__response_header(&r->response, hob_text_of(name)).data; /* NUL-terminated, as all it can be is */
}

void hob_test_end(hob_app *app) {
    recorder *self = hob__application(app)->runtime;
    if (self) {
        run(self, reset);
        clear_environment(self);
        hob__services_close(&self->services);
        hob__arena_free(self->arena);
        hob__config_free(&self->config);
        free(self);
    }
    hob__router_free(app);
    hob__fiber_pool_free();
}
