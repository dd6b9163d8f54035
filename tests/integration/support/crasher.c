/* An application whose handlers do what none should. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hob.h"

static volatile int zero;
static int *volatile nowhere;
static int (*volatile no_function)(hob_ctx *c);

static int null_write(hob_ctx *c) {
    *nowhere = 1;
    return hob_no_content(c);
}

static int deeper(int depth) { /* NOLINT(misc-no-recursion): as deep as it goes */
    volatile char room[64];
    room[0] = (char)depth;
    return depth < 0 ? 0 : deeper(depth + 1) + room[0];
}

static int stack_overflow(hob_ctx *c) {
    return deeper(zero) > 0 ? hob_no_content(c) : 500;
}

static int double_free(hob_ctx *c) {
    void *volatile memory = malloc(5000);
    free(memory);
    free(memory); /* NOLINT(clang-analyzer-unix.Malloc): on purpose */
    return hob_no_content(c);
}

static int call_abort(hob_ctx *c) {
    if (zero == 0)
        abort();
    return hob_no_content(c);
}

static int division(hob_ctx *c) {
    return hob_no_content(c) / zero;
}

static int null_call(hob_ctx *c) {
    int status = no_function(c);
    return status + zero; /* not a call in its place */
}

static int crash_in_branch(hob_ctx *c, void *arg) {
    (void)arg;
    return hob_sleep(c, 1) ? 504 : null_write(c);
}

static int branch(hob_ctx *c) {
    hob_group *group = hob_group_new(c);
    hob_group_go(group, crash_in_branch, NULL);
    int status = hob_group_wait(group);
    return status ? status : hob_no_content(c);
}

static void crash_in_thread(void *arg) {
    (void)arg;
    *nowhere = 1;
}

static int thread(hob_ctx *c) {
    int status = hob_offload(c, crash_in_thread, NULL);
    return status ? status : hob_no_content(c);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int spin(hob_ctx *c) {
    int64_t end = now_ms() + hob_path_int(c, "ms");
    while (now_ms() < end) {
    }
    return hob_text_reply(c, 200, HOB_TEXT("spun"));
}

static int hang(hob_ctx *c) {
    while (zero == 0) {
    }
    return hob_no_content(c);
}

static int wait_for(hob_ctx *c) {
    int status = hob_sleep(c, hob_path_int(c, "ms"));
    return status ? status : hob_text_reply(c, 200, HOB_TEXT("waited"));
}

static int large(hob_ctx *c) {
    size_t size = (size_t)hob_path_int(c, "bytes");
    char *body = hob_alloc(c, size);
    if (body == NULL)
        return 503;
    memset(body, 'x', size);
    return hob_text_reply(c, 200, (hob_text){body, size});
}

static int grow(hob_ctx *c) {
    static void *kept[100];
    static size_t count;
    size_t size = (size_t)hob_path_int(c, "mib") << 20;
    void *memory = malloc(size);
    if (memory == NULL || count == sizeof kept / sizeof *kept)
        return hob_problem(c, 500, "it is large enough");
    kept[count++] = memset(memory, 1, size);
    return hob_no_content(c);
}

static int ping(hob_ctx *c) {
    return hob_text_reply(c, 200, HOB_TEXT("pong"));
}

int main(int argc, char **argv) {
    hob_app *app = hob_new("crasher");
    hob_use(app, hob_request_id, hob_access_log, hob_recover, hob_deadline);
    hob_get(app, "/ping", ping);
    hob_post(app, "/ping", ping);
    hob_get(app, "/readyz", hob_readyz);
    hob_get(app, "/crash/null_write", null_write);
    hob_post(app, "/crash/null_write", null_write);
    hob_get(app, "/crash/stack_overflow", stack_overflow);
    hob_get(app, "/crash/double_free", double_free);
    hob_get(app, "/crash/call_abort", call_abort);
    hob_get(app, "/crash/division", division);
    hob_get(app, "/crash/null_call", null_call);
    hob_get(app, "/crash/branch", branch);
    hob_get(app, "/crash/thread", thread);
    hob_get(app, "/spin/{ms:int}", spin);
    hob_get(app, "/hang", hang);
    hob_get(app, "/wait/{ms:int}", wait_for);
    hob_get(app, "/large/{bytes:int}", large);
    hob_get(app, "/grow/{mib:int}", grow);
    return hob_main(app, argc, argv);
}
