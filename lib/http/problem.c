/* Problem documents (RFC 9457). */
#include "http/ctx.h"

#include <string.h>

#include "base/text.h"
#include "json/rows.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD, for bytes that are no UTF-8 */

static size_t escape(char c, char out[6]) {
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        memcpy(out, (char[]){'\\', c}, 2);
        return 2;
    }
    if ((unsigned char)c >= 0x20) {
        *out = c;
        return 1;
    }
    memcpy(out, (char[]){'\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15]}, 6);
    return 6;
}

/* The inside of a JSON string; to NULL: only its size. */
static size_t escape_into(char *to, hob_text text) {
    size_t size = 0, valid = hob__utf8_valid_prefix(text);
    char piece[6];
    for (size_t i = 0; i < text.size; i++) {
        bool bad = i == valid;
        size_t n = bad ? 3 : escape(text.data[i], piece);
        if (to)
            memcpy(to + size, bad ? REPLACEMENT : piece, n);
        size += n;
        if (bad)
            valid = i + 1 + hob__utf8_valid_prefix((hob_text){text.data + i + 1, text.size - i - 1});
    }
    return size;
}

/* ,"key":"value"; empty when there is no value. */
static hob_text string_member(hob_arena *arena, const char *key, hob_text value) {
    if (value.data == NULL)
        return HOB_TEXT("");
    size_t size = escape_into(NULL, value);
    char *escaped = hob__arena_alloc(arena, size);
    if (escaped == NULL)
        return (hob_text){0};
    escape_into(escaped, value);
    return hob__arena_format(arena, ",\"%s\":\"%.*s\"", key, (int)size, escaped);
}

static hob_text errors_member(hob_arena *arena, json_object *errors) {
    if (errors == NULL)
        return HOB_TEXT("");
    hob_text list = hob__json_text(arena, errors);
    return hob__arena_format(arena, ",\"errors\":" HOB_FMT, HOB_ARG(list));
}

int hob__response_problem_typed(hob_response *response, hob_arena *arena, const hob_problem_type *type, int status,
                                hob_text instance, hob_text detail, json_object *errors) {
    hob_text detail_member = string_member(arena, "detail", detail);
    hob_text instance_member = string_member(arena, "instance", instance);
    hob_text more = errors_member(arena, errors);
    const char *title = type->title ? type->title : hob__status_phrase(status);
    hob_text body = hob__arena_format(
        arena, "{\"type\":\"%s\",\"title\":\"%s\",\"status\":%d" HOB_FMT HOB_FMT HOB_FMT "}", type->uri,
        *title ? title : "Error", status, HOB_ARG(detail_member), HOB_ARG(instance_member), HOB_ARG(more));
    if (hob__arena_failed(arena))
        return hob__response_out_of_memory(response, instance);
    response->status = status;
    response->content_type = HOB_TEXT("application/problem+json");
    response->body = body;
    response->problem_detail = detail;
    return status;
}

int hob__response_problem_with(hob_response *response, hob_arena *arena, int status, hob_text instance, hob_text detail,
                               json_object *errors) {
    static const hob_problem_type blank = {.uri = "about:blank"};
    return hob__response_problem_typed(response, arena, &blank, status, instance, detail, errors);
}

int hob__response_problem(hob_response *response, hob_arena *arena, int status, hob_text instance, hob_text detail) {
    return hob__response_problem_with(response, arena, status, instance, detail, NULL);
}

static int problem(hob_ctx *c, int status, const char *format, va_list args) {
    hob_text detail = hob__arena_vformat(c->arena, format, args);
    return hob__response_problem(c->response, c->arena, status, c->request->id, detail);
}

#define PROBLEM(c, status, format)                                                                                     \
    do {                                                                                                               \
        va_list args;                                                                                                  \
        va_start(args, format);                                                                                        \
        int answered = problem(c, status, format, args);                                                               \
        va_end(args);                                                                                                  \
        return answered;                                                                                               \
    } while (0)

int hob_problem(hob_ctx *c, int status, const char *format, ...) {
    PROBLEM(c, status, format);
}

int hob_bad_request(hob_ctx *c, const char *format, ...) {
    PROBLEM(c, 400, format);
}

int hob_not_found(hob_ctx *c, const char *format, ...) {
    PROBLEM(c, 404, format);
}

int hob_conflict(hob_ctx *c, const char *format, ...) {
    PROBLEM(c, 409, format);
}

int hob_unavailable(hob_ctx *c, int retry_after_s, const char *format, ...) {
    hob_set_header(c, "Retry-After", "%d", retry_after_s);
    PROBLEM(c, 503, format);
}
