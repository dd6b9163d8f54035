/* users-api with 20 us more of work in every request, to see that the benchmark sees it. */
#include <time.h>

#include "users_api.h"

#define SLOWER_NS 20000

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int slower(hob_ctx *c, const hob_chain *chain) {
    int64_t end = now_ns() + SLOWER_NS;
    while (now_ns() < end)
        ;
    return hob_next(c, chain);
}

int main(int argc, char **argv) {
    hob_app *app = users_api();
    hob_use(app, slower);
    return hob_main(app, argc, argv);
}
