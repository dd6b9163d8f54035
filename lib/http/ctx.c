/* What a handler asks of its request. */
#include "http/ctx.h"

#include <stdio.h>

#include "base/log.h"
#include "base/text.h"

#define MESSAGE_SIZE 1024 /* longest line of an application's log */
#define PAGE_LIMIT_DEFAULT 20
#define PAGE_LIMIT_MAX 100

void *hob_alloc(hob_ctx *c, size_t size) {
    return hob__arena_alloc(c->arena, size);
}

hob_text hob_format(hob_ctx *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hob_text text = hob__arena_vformat(c->arena, format, args);
    va_end(args);
    return text;
}

hob_text hob_copy(hob_ctx *c, hob_text text) {
    return hob__arena_copy(c->arena, text);
}

void hob_defer(hob_ctx *c, void (*fn)(void *arg), void *arg) {
    (void)hob__arena_defer(c->arena, fn, arg);
}

hob_text hob_method(const hob_ctx *c) {
    return c->request->method_name;
}

hob_text hob_path(const hob_ctx *c) {
    return c->request->path;
}

hob_text hob_id(const hob_ctx *c) {
    return c->request->id;
}

hob_text hob_client(const hob_ctx *c) {
    return c->request->client;
}

hob_text hob_header(const hob_ctx *c, const char *name) {
    return hob__request_header(c->request, hob_text_of(name));
}

hob_text hob_body(const hob_ctx *c) {
    return c->request->body;
}

static hob_param_match path_param(const hob_ctx *c, const char *name) {
    for (size_t i = 0; i < c->match->param_count; i++)
        if (hob_text_equal(hob_text_of(c->match->params[i].name), hob_text_of(name)))
            return c->match->params[i];
    return (hob_param_match){0};
}

int64_t hob_path_int(const hob_ctx *c, const char *name) {
    return path_param(c, name).integer;
}

hob_text hob_path_text(const hob_ctx *c, const char *name) {
    return path_param(c, name).value;
}

hob_text hob_query_text(const hob_ctx *c, const char *name) {
    hob_text value;
    return hob__query_find(c->arena, c->request->query, hob_text_of(name), &value) > 0 ? value : (hob_text){0};
}

int hob_query_int(hob_ctx *c, const char *name, int64_t min, int64_t max, int64_t *out) {
    hob_text text;
    int64_t value;
    int found = hob__query_find(c->arena, c->request->query, hob_text_of(name), &text);
    if (found == 0)
        return 0;
    if (found < 0 || !hob__text_to_int(text, &value) || value < min || value > max)
        return hob_bad_request(c, "the query parameter %s must be an integer from %" PRId64 " to %" PRId64, name, min,
                               max);
    *out = value;
    return 0;
}

int hob_page_of(hob_ctx *c, hob_page *page) {
    *page = (hob_page){.limit = PAGE_LIMIT_DEFAULT};
    int status = hob_query_int(c, "limit", 1, PAGE_LIMIT_MAX, &page->limit);
    return status ? status : hob_query_int(c, "after", 1, INT64_MAX, &page->after);
}

/* The newest of a key comes first, so setting it again needs no search, and a branch cannot change its parent's. */
bool hob_set_value(hob_ctx *c, const void *key, void *value) {
    hob_ctx_value *entry = hob__arena_alloc(c->arena, sizeof *entry);
    if (entry == NULL)
        return false;
    *entry = (hob_ctx_value){key, value, c->values};
    c->values = entry;
    return true;
}

void *hob_value(const hob_ctx *c, const void *key) {
    for (; c; c = c->parent)
        for (const hob_ctx_value *entry = c->values; entry; entry = entry->next)
            if (entry->key == key)
                return entry->value;
    return NULL;
}

void hob_log(const hob_ctx *c, hob_log_level level, const char *format, ...) {
    char message[MESSAGE_SIZE];
    hob_log_line line;
    va_list args;
    if (!hob__log_enabled(level))
        return;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    hob__log_begin(&line, level, hob_text_of(message));
    if (c->request->id.data)
        hob__log_text(&line, "request_id", c->request->id);
    hob__log_end(&line);
}
