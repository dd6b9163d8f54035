/* The answer, as a handler writes it. */
#include "http/ctx.h"

#include "base/config.h"
#include "json/rows.h"

/* A failed allocation needs no word here: the arena knows, and the request ends as a 503. */
static void set_header(hob_ctx *c, hob_text name, hob_text value) {
    if (value.data)
        (void)hob__response_set(c->response, c->arena, name, value);
}

void hob_set_header(hob_ctx *c, const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_header(c, hob_text_of(name), hob__arena_vformat(c->arena, format, args));
    va_end(args);
}

void hob_set_location(hob_ctx *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hob_text path = hob__arena_vformat(c->arena, format, args), mount = hob__mount(c->config->mount);
    va_end(args);
    set_header(c, HOB_TEXT("Location"), hob__arena_format(c->arena, HOB_FMT HOB_FMT, HOB_ARG(mount), HOB_ARG(path)));
}

static int answer(hob_ctx *c, int status, hob_text content_type, hob_text body) {
    c->response->status = status;
    c->response->content_type = content_type;
    c->response->body = body;
    c->response->problem_detail = (hob_text){0};
    return status;
}

int hob_reply(hob_ctx *c, int status, const char *content_type, hob_text body) {
    return answer(c, status, hob__wire_text(c->arena, hob_text_of(content_type)), body);
}

int hob_text_reply(hob_ctx *c, int status, hob_text body) {
    return answer(c, status, HOB_TEXT("text/plain; charset=utf-8"), body);
}

int hob_json(hob_ctx *c, int status, json_object *tree) {
    return answer(c, status, HOB_TEXT("application/json"), hob__json_text(c->arena, tree));
}

int hob_no_content(hob_ctx *c) {
    return answer(c, 204, (hob_text){0}, (hob_text){0});
}
