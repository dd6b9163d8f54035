/* Bodies in, trees out. */
#include "handler/services.h"
#include "http/request.h"
#include "json/bind.h"
#include "json/rows.h"

static int unsupported(hob_ctx *c, bool partial) {
    if (partial)
        hob_set_header(c, "Accept-Patch", "application/merge-patch+json, application/json");
    else
        hob_set_header(c, "Accept", "application/json");
    return hob_problem(c, 415, "the body must be application/json in UTF-8");
}

static bool is_json(const hob_ctx *c, bool partial) {
    hob_text type = c->request->content_type;
    return hob__media_type_is(type, HOB_TEXT("application/json")) ||
           (partial && hob__media_type_is(type, HOB_TEXT("application/merge-patch+json")));
}

static int bind_body(hob_ctx *c, const hob_field *fields, bool partial, void *into) {
    hob_text detail = {0};
    json_object *errors = NULL;
    if (c->request->body.size > 0 && !is_json(c, partial))
        return unsupported(c, partial);
    switch (hob__bind(c->arena, c->request->body, fields, partial, into, &detail, &errors)) {
    case HOB_BIND_GOOD:
        return 0;
    case HOB_BIND_NO_JSON:
        return hob_bad_request(c, HOB_FMT, HOB_ARG(detail));
    case HOB_BIND_INVALID:
        return hob__response_problem_with(c->response, c->arena, 422, c->request->id, HOB_TEXT("the body has faults"),
                                          errors);
    case HOB_BIND_NO_MEMORY:
        break;
    }
    return hob_unavailable(c, 1, "out of memory");
}

int hob_bind(hob_ctx *c, const hob_field *fields, void *into) {
    return bind_body(c, fields, false, into);
}

int hob_bind_some(hob_ctx *c, const hob_field *fields, void *into) {
    return bind_body(c, fields, true, into);
}

json_object *hob_own(hob_ctx *c, json_object *tree) {
    if (!tree)
        hob__arena_fail(c->arena);
    return hob__json_own(c->arena, tree);
}

json_object *hob_object(hob_ctx *c) {
    return hob_own(c, json_object_new_object());
}

void hob_set(hob_ctx *c, json_object *object, const char *key, json_object *value) {
    if (!object)
        return; /* memory ran out before; the arena knows */
    if (json_object_object_add_ex(object, key, json_object_get(value), JSON_C_OBJECT_ADD_CONSTANT_KEY) == 0)
        return;
    json_object_put(value);
    hob__arena_fail(c->arena);
}

json_object *hob_row_object(hob_ctx *c, const hob_rows *rows, size_t row, const hob_field *fields) {
    return hob__row_object(c->arena, rows, row, fields);
}

json_object *hob_rows_array(hob_ctx *c, const hob_rows *rows, const hob_field *fields) {
    return hob__rows_array(c->arena, rows, hob_rows_count(rows), fields);
}
