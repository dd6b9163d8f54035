/* Answers for probes: from what the worker knows, without a round trip. A process that connects on demand knows nothing
 * yet, and connects. */
#include "handler/services.h"

int hob_livez(hob_ctx *c) {
    return hob_reply(c, 200, "application/json", HOB_TEXT("{\"status\":\"ok\"}"));
}

static const char *database_state(const hob_ctx *c) {
    hob_db *db = c->services->db;
    return !db ? "off" : hob__db_reach(db, c->task) ? "up" : "down";
}

static const char *cache_state(const hob_ctx *c) {
    hob_cache *cache = c->services->cache;
    return !cache ? "off" : hob__cache_reach(cache, c->task) ? "up" : "down";
}

int hob_readyz(hob_ctx *c) {
    const char *database = database_state(c), *cache = cache_state(c);
    bool ready = !c->services->draining && (!c->services->db || hob__db_up(c->services->db));
    hob_text body = hob_format(c, "{\"status\":\"%s\",\"database\":\"%s\",\"cache\":\"%s\"}",
                               ready ? "ready" : "not ready", database, cache);
    if (!ready)
        hob_set_header(c, "Retry-After", "1");
    return hob_reply(c, ready ? 200 : 503, "application/json", body);
}
