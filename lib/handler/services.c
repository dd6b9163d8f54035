#include "handler/services.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handler/cached.h"
#include "http/response.h"
#include "middleware/real_ip.h"

#define RETRY_AFTER_OVERLOAD_S 1

/* libpq's own way to say where the database is; with none of these there is nothing to connect to. */
static bool database_configured(const hob_config *config) {
    return config->database_url || getenv("PGHOST") || getenv("PGHOSTADDR") || getenv("PGSERVICE") ||
           getenv("PGDATABASE");
}

static bool open_database(hob_services *services, char error[256]) {
    if (!database_configured(services->config))
        return true;
    services->db = hob__db_new(services->loop, services->offload, services->config, services->application->name);
    if (!services->db)
        snprintf(error, 256, "DATABASE_URL: cannot be used, or memory ran out");
    return services->db != NULL;
}

static bool open_cache(hob_services *services, hob_services_shared shared, char error[256]) {
    const hob_config *config = services->config;
    if (!config->cache)
        return true;
    const char *prefix = config->cache_prefix ? config->cache_prefix : services->application->name;
    services->cache =
        hob__cache_new(services->loop, services->offload, config, prefix, shared.cache, shared.slot, error);
    return services->cache != NULL;
}

/* As in a URL: it is put before Location. */
static bool mount_good(const char *mount) {
    if (*mount != '/')
        return false;
    for (; *mount; mount++)
        if (*mount <= ' ' || *mount > '~' || *mount == '?' || *mount == '#')
            return false;
    return true;
}

/* What the table of settings cannot say of a text. */
static bool texts_good(const hob_config *config, char error[256]) {
    const char *bad = NULL;
    if (config->mount && !mount_good(config->mount))
        snprintf(error, 256, "HOB_MOUNT: must begin with '/' and be a URL's path, not '%.100s'", config->mount);
    else if (!hob__trusted_proxies_good(config->trusted_proxies, &bad))
        snprintf(error, 256, "HOB_TRUSTED_PROXIES: neither an address nor a CIDR block: '%.100s'", bad);
    else
        return true;
    return false;
}

bool hob__services_open(hob_services *services, hob_app *app, const hob_config *config, hob_services_shared shared,
                        char error[256]) {
    *services = (hob_services){.app = app, .application = hob__application(app), .config = config};
    if (!texts_good(config, error))
        return false;
    services->loop = hob__loop_new();
    if (services->loop)
        services->offload = hob__offload_new(services->loop, (size_t)config->offload_threads);
    if (!services->offload) {
        snprintf(error, 256, "the event loop could not be made: %m");
        hob__services_close(services);
        return false;
    }
    if (open_database(services, error) && open_cache(services, shared, error))
        return true;
    hob__services_close(services);
    return false;
}

void hob__services_close(hob_services *services) {
    if (services->cache)
        hob__cache_free(services->cache);
    if (services->db)
        hob__db_free(services->db);
    if (services->offload)
        hob__offload_free(services->offload);
    if (services->loop)
        hob__loop_free(services->loop);
    *services = (hob_services){0};
}

static int too_many(hob_ctx *c) {
    return hob_unavailable(c, RETRY_AFTER_OVERLOAD_S, "too many requests are in flight");
}

static int too_late(hob_ctx *c) {
    return hob_unavailable(c, RETRY_AFTER_OVERLOAD_S, "too many requests wait to be worked on");
}

/* All that was ready when this turn began waits behind what this turn works on. */
static bool has_waited_too_long(const hob_services *services) {
    int64_t longest = services->config->max_queue_time;
    return longest > 0 && hob__clock_ns() - hob__loop_now(services->loop) > longest;
}

/* NULL: it is not overloaded. */
static hob_handler *overload(const hob_services *services) {
    if (services->in_flight >= (size_t)services->config->max_in_flight)
        return too_many;
    return has_waited_too_long(services) ? too_late : NULL;
}

/* Through the application's own middlewares, so that a refusal too has its id and its line in the log; nothing else. */
static void refuse(hob_services *services, hob_ctx *ctx, hob_match *match, hob_handler *refusal) {
    *match = (hob_match){0};
    ctx->match = match;
    (void)hob__settle(ctx, hob_next(ctx, &(hob_chain){.rest = services->application->outer, .handler = refusal}));
}

static void work(hob_services *services, hob_ctx *ctx, hob_match *match) {
    services->in_flight++;
    hob__serve(services->application, ctx, match);
    hob__forget_all(ctx);
    services->in_flight--;
}

void hob__services_serve(hob_services *services, hob_task *task, hob_request *request, hob_response *response) {
    hob_match match;
    hob_ctx ctx = {.task = task,
                   .arena = task->arena,
                   .request = request,
                   .response = response,
                   .services = services,
                   .config = services->config};
    *response = (hob_response){0};
    hob_handler *refusal = overload(services);
    if (refusal != NULL)
        refuse(services, &ctx, &match, refusal);
    else
        work(services, &ctx, &match);
    services->served++;
    services->failed += response->status >= 500;
}
