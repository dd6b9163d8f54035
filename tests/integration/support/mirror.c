/* Sends back what comes: how bodies and answers of any size pass through a web server. */
#include <string.h>

#include "hob.h"

#define MOST ((int64_t)1 << 24)

static int bytes(hob_ctx *c) {
    int64_t size = hob_path_int(c, "size");
    if (size > MOST)
        return hob_not_found(c, "too many");
    char *filled = hob_alloc(c, (size_t)size);
    if (filled == NULL)
        return hob_problem(c, 500, "out of memory");
    for (int64_t i = 0; i < size; i++)
        filled[i] = (char)('a' + i % 26);
    return hob_reply(c, 200, "application/octet-stream", (hob_text){filled, (size_t)size});
}

static int mirror(hob_ctx *c) {
    return hob_reply(c, 200, "application/octet-stream", hob_body(c));
}

/* What the application sees of a request, one item a line. */
static int seen(hob_ctx *c) {
    return hob_text_reply(c, 200,
                          hob_format(c,
                                     "method=" HOB_FMT "\npath=" HOB_FMT "\nq=" HOB_FMT "\nx-many=" HOB_FMT
                                     "\nx-empty=" HOB_FMT "\nauthorization=" HOB_FMT "\nclient=" HOB_FMT "\nsize=%zu\n",
                                     HOB_ARG(hob_method(c)), HOB_ARG(hob_path(c)), HOB_ARG(hob_query_text(c, "q")),
                                     HOB_ARG(hob_header(c, "x-many")), HOB_ARG(hob_header(c, "x-empty")),
                                     HOB_ARG(hob_header(c, "authorization")), HOB_ARG(hob_client(c)),
                                     hob_body(c).size));
}

static int wait(hob_ctx *c) {
    int status = hob_sleep(c, hob_path_int(c, "ms"));
    return status ? status : hob_text_reply(c, 200, HOB_TEXT("awake\n"));
}

int main(int argc, char **argv) {
    hob_app *app = hob_new("mirror");
    hob_use(app, hob_request_id, hob_recover, hob_deadline);
    hob_get(app, "/bytes/{size:int}", bytes);
    hob_post(app, "/mirror", mirror);
    hob_put(app, "/mirror", mirror);
    hob_get(app, "/seen/{rest}", seen);
    hob_post(app, "/seen/{rest}", seen);
    hob_get(app, "/wait/{ms:int}", wait);
    hob_post(app, "/wait/{ms:int}", wait);
    return hob_main(app, argc, argv);
}
