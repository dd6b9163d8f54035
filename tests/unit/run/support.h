/* What the tests of lib/run/ share: a loop of their own, and a sanitizer to ask after. */
#ifndef HOB_TESTS_UNIT_RUN_SUPPORT_H
#define HOB_TESTS_UNIT_RUN_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/loop.h"
#include "run/task.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

#ifdef __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif
/* A checker's own memory would be measured with ours, and it does not bear to be given none. */
#define MEMORY_IS_OURS (!UNDER_ASAN && !RUNNING_ON_VALGRIND)

static inline int make_loop(void **state) {
    *state = hob__loop_new();
    return *state ? 0 : -1;
}

static inline int free_loop(void **state) {
    hob__loop_free(*state);
    hob__fiber_pool_free();
    return 0;
}

/* A test of a loop that it gets from *state. */
#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_loop, free_loop)

/* Turns until no fiber is left; fails after ten seconds. */
static inline void run_to_the_end(hob_loop *loop) {
    int64_t end = hob__clock_ns() + 10 * HOB_S;
    while (hob__fiber_count().live > 0) {
        hob__loop_turn(loop, 100 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

static inline void start(hob_loop *loop, hob_task *task, void (*fn)(hob_task *task)) {
    *task = (hob_task){.loop = loop, .deadline = HOB_FOREVER};
    assert_true(hob__task_start(task, fn));
}

#endif
