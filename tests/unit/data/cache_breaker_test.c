#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/cache_private.h"

#define NOW (1000 * HOB_S)

static void open_it(hob_cache_breaker *breaker) {
    for (int i = 1; i < HOB_CACHE_FAILURES; i++)
        assert_false(hob__cache_breaker_failed(breaker, NOW));
    assert_true(hob__cache_breaker_failed(breaker, NOW));
}

static void opens_after_failures_in_a_row(void **state) {
    (void)state;
    hob_cache_breaker breaker = {0};
    assert_false(hob__cache_breaker_open(&breaker));
    assert_false(hob__cache_breaker_due(&breaker, NOW));
    open_it(&breaker);
    assert_true(hob__cache_breaker_open(&breaker));
}

static void a_success_between_starts_the_count_anew(void **state) {
    (void)state;
    hob_cache_breaker breaker = {0};
    for (int i = 0; i < 100; i++) {
        assert_false(hob__cache_breaker_failed(&breaker, NOW));
        assert_false(hob__cache_breaker_failed(&breaker, NOW));
        assert_false(hob__cache_breaker_succeeded(&breaker));
    }
    assert_false(hob__cache_breaker_open(&breaker));
}

static void pauses_double_up_to_the_longest(void **state) {
    (void)state;
    hob_cache_breaker breaker = {0};
    const int64_t pauses[] = {HOB_S, 2 * HOB_S, 4 * HOB_S, 8 * HOB_S, 8 * HOB_S, 8 * HOB_S};
    int64_t now = NOW;
    open_it(&breaker);
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        int64_t shortest = now + pauses[i] * 79 / 100, longest = now + pauses[i] * 121 / 100;
        assert_true(breaker.probe_at >= shortest && breaker.probe_at <= longest);
        assert_false(hob__cache_breaker_due(&breaker, shortest - 1));
        assert_true(hob__cache_breaker_due(&breaker, longest));
        now = longest;
        assert_true(hob__cache_breaker_failed(&breaker, now)); /* one failed probe is enough */
    }
}

static void a_good_probe_closes_and_forgets(void **state) {
    (void)state;
    hob_cache_breaker breaker = {0};
    open_it(&breaker);
    assert_true(hob__cache_breaker_failed(&breaker, NOW));
    assert_true(hob__cache_breaker_succeeded(&breaker));
    assert_false(hob__cache_breaker_open(&breaker));
    open_it(&breaker);
    assert_int_equal(breaker.pause, HOB_CACHE_PAUSE);
}

static void pauses_are_jittered(void **state) {
    (void)state;
    int64_t first = 0;
    bool differ = false;
    for (int i = 0; i < 20; i++) {
        hob_cache_breaker breaker = {0};
        open_it(&breaker);
        first = first ? first : breaker.probe_at;
        differ |= breaker.probe_at != first;
    }
    assert_true(differ);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_failures_in_a_row),
        cmocka_unit_test(a_success_between_starts_the_count_anew),
        cmocka_unit_test(pauses_double_up_to_the_longest),
        cmocka_unit_test(a_good_probe_closes_and_forgets),
        cmocka_unit_test(pauses_are_jittered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
