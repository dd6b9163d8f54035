#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../http/fixture.h"

static int handler(hob_ctx *c) {
    return hob_no_content(c);
}

static int64_t deadline_of(int64_t started, int64_t timeout, int64_t earlier) {
    fixture f;
    fixture_get(&f, "/");
    f.request.started = started;
    f.config.request_timeout = timeout;
    f.task.deadline = earlier;
    assert_int_equal(hob_deadline(&f.ctx, &(hob_chain){.rest = (hob_middleware *const[]){NULL}, .handler = handler}),
                     204);
    int64_t deadline = f.task.deadline;
    fixture_end(&f);
    return deadline;
}

static void it_counts_from_the_first_byte(void **state) {
    (void)state;
    assert_int_equal(deadline_of(1000, 500, HOB_FOREVER), 1500);
}

static void an_earlier_deadline_stays(void **state) {
    (void)state;
    assert_int_equal(deadline_of(1000, 500, 1200), 1200);
    assert_int_equal(deadline_of(1000, 500, 1500), 1500);
}

static void a_timeout_beyond_time_is_none(void **state) {
    (void)state;
    assert_int_equal(deadline_of(1000, INT64_MAX, HOB_FOREVER), HOB_FOREVER);
    assert_int_equal(deadline_of(1000, INT64_MAX, 1200), 1200);
}

static void without_a_start_it_counts_from_now(void **state) {
    (void)state;
    int64_t before = hob__clock_ns(), deadline = deadline_of(0, HOB_S, HOB_FOREVER);
    assert_true(deadline >= before + HOB_S);
    assert_true(deadline <= hob__clock_ns() + HOB_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_the_first_byte),
        cmocka_unit_test(an_earlier_deadline_stays),
        cmocka_unit_test(a_timeout_beyond_time_is_none),
        cmocka_unit_test(without_a_start_it_counts_from_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
