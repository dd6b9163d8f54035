/* Answers for probes: from what the worker knows, without a round trip. */
#include "handler/services.h"

int hob_livez(hob_ctx *c) {
    return hob_reply(c, 200, "application/json", HOB_TEXT("{\"status\":\"ok\"}"));
}

static const char *database_state(const hob_services *services) {
    if (!services->db)
        return "off";
    return hob__db_up(services->db) ? "up" : "down";
}

static const char *cache_state(const hob_services *services) {
    if (!services->cache)
        return "off";
    return hob__cache_up(services->cache) ? "up" : "down";
}

int hob_readyz(hob_ctx *c) {
    const hob_services *services = c->services;
    bool ready = !services->draining && (!services->db || hob__db_up(services->db));
    hob_text body = hob_format(c, "{\"status\":\"%s\",\"database\":\"%s\",\"cache\":\"%s\"}",
                               ready ? "ready" : "not ready", database_state(services), cache_state(services));
    if (!ready)
        hob_set_header(c, "Retry-After", "1");
    return hob_reply(c, ready ? 200 : 503, "application/json", body);
}
