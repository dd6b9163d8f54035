/* Lists, page by page: keyset cursors and Link headers (RFC 8288). */
#include <string.h>

#include "handler/services.h"
#include "json/rows.h"

/* Where the client found the list: still encoded, as it spelled it, if the web server told. */
static hob_text list_path(hob_ctx *c) {
    hob_text target = c->request->target, mount = hob__mount(c->config->mount);
    const char *query = target.data ? memchr(target.data, '?', target.size) : NULL;
    if (target.size == 0)
        return hob_format(c, HOB_FMT HOB_FMT, HOB_ARG(mount), HOB_ARG(c->request->path));
    return (hob_text){target.data, query ? (size_t)(query - target.data) : target.size};
}

int hob_rows_page(hob_ctx *c, const hob_rows *rows, const hob_field *fields, const char *name, const hob_page *page,
                  const char *key) {
    int status = hob_rows_status(c, rows, fields);
    if (status)
        return status;
    size_t count = hob_rows_count(rows);
    json_object *next = NULL;
    if (count > (size_t)page->limit) {
        count = (size_t)page->limit;
        int64_t cursor = hob_rows_int(rows, count - 1, key);
        hob_text text = hob_format(c, "%" PRId64, cursor);
        next = hob_own(c, json_object_new_string_len(text.data, (int)text.size));
        hob_text path = list_path(c);
        hob_set_header(c, "Link", "<" HOB_FMT "?limit=%" PRId64 "&after=%" PRId64 ">; rel=\"next\"", HOB_ARG(path),
                       page->limit, cursor);
    }
    json_object *body = hob_object(c);
    hob_set(c, body, name, hob__rows_array(c->arena, rows, count, fields));
    hob_set(c, body, "next", next);
    return hob_json(c, 200, body);
}
