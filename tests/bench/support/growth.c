/* users-api, and answers of any size and after any time. */
#include <string.h>

#include "users_api.h"

#define MOST_BYTES ((int64_t)1 << 23)

static int bytes(hob_ctx *c) {
    int64_t size = hob_path_int(c, "size");
    if (size > MOST_BYTES)
        return hob_not_found(c, "too many");
    char *filled = hob_alloc(c, (size_t)size);
    if (filled == NULL)
        return hob_problem(c, 500, "out of memory");
    memset(filled, 'x', (size_t)size);
    return hob_reply(c, 200, "application/octet-stream", (hob_text){filled, (size_t)size});
}

static int wait(hob_ctx *c) {
    int status = hob_sleep(c, hob_path_int(c, "ms"));
    return status ? status : hob_text_reply(c, 200, HOB_TEXT("awake\n"));
}

int main(int argc, char **argv) {
    hob_app *app = users_api();
    hob_get(app, "/bytes/{size:int}", bytes);
    hob_get(app, "/wait/{ms:int}", wait);
    return hob_main(app, argc, argv);
}
