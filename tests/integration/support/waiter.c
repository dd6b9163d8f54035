/* An application of one handler that only waits: how many can a worker hold, and at what cost? */
#include "hob.h"

static int wait_for(hob_ctx *c) {
    int status = hob_sleep(c, hob_path_int(c, "ms"));
    return status ? status : hob_text_reply(c, 200, HOB_TEXT("waited"));
}

int main(int argc, char **argv) {
    hob_app *app = hob_new("waiter");
    hob_use(app, hob_request_id, hob_recover, hob_deadline);
    hob_get(app, "/wait/{ms:int}", wait_for);
    return hob_main(app, argc, argv);
}
