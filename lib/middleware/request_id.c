/* Outermost of all, so that every answer and every line of the log carries the id. */
#include <string.h>

#include "base/random.h"
#include "http/ctx.h"

static bool is_well_formed(hob_text id) {
    for (size_t i = 0; i < id.size; i++) {
        char c = id.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && c != '.' && c != '_' && c != '-')
            return false;
    }
    return id.size >= 1 && id.size <= HOB_REQUEST_ID_MAX;
}

int hob_request_id(hob_ctx *c, const hob_chain *chain) {
    hob_request *request = c->request;
    hob_text given = hob__request_header(request, HOB_TEXT("X-Request-ID"));
    if (is_well_formed(given)) {
        memcpy(request->own_id, given.data, given.size);
        request->own_id[given.size] = '\0';
    } else {
        hob__uuid7(request->own_id);
    }
    request->id = hob_text_of(request->own_id);
    (void)hob__response_set(c->response, c->arena, HOB_TEXT("X-Request-ID"), request->id);
    return hob_next(c, chain);
}
