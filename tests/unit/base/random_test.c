#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_no_repetition(void **state) {
    (void)state;
    static uint64_t values[10000];
    uint64_t ones = 0, zeros = 0;
    for (size_t i = 0; i < COUNT(values); i++) {
        values[i] = hob__random();
        ones |= values[i];
        zeros |= ~values[i];
    }
    assert_true(ones == UINT64_MAX && zeros == UINT64_MAX); /* every bit takes both values */
    qsort(values, COUNT(values), sizeof *values, compare);
    for (size_t i = 1; i < COUNT(values); i++)
        assert_true(values[i] != values[i - 1]);
}

/* What a child draws after the fork, through a pipe. */
static void child_draws(uint64_t *drawn, size_t count) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (size_t i = 0; i < count; i++)
            drawn[i] = hob__random();
        ssize_t size = (ssize_t)(count * sizeof *drawn);
        _exit(write(ends[1], drawn, (size_t)size) == size ? 0 : 1);
    }
    int status;
    assert_int_equal(read(ends[0], drawn, count * sizeof *drawn), count * sizeof *drawn);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ends[0]);
    close(ends[1]);
}

static void test_fork(void **state) {
    (void)state;
    uint64_t drawn[3][16];
    (void)hob__random(); /* the parent's buffer is not empty */
    child_draws(drawn[0], 16);
    child_draws(drawn[1], 16);
    for (size_t i = 0; i < 16; i++)
        drawn[2][i] = hob__random();
    qsort(drawn, 48, sizeof(uint64_t), compare);
    const uint64_t *all = drawn[0];
    for (size_t i = 1; i < 48; i++)
        assert_true(all[i] != all[i - 1]);
}

static void test_jitter(void **state) {
    (void)state;
    double low = 2, high = 0;
    for (int i = 0; i < 10000; i++) {
        double factor = hob__jitter(0.1);
        assert_true(factor >= 0.9 - 1e-12 && factor <= 1.1 + 1e-12);
        low = factor < low ? factor : low;
        high = factor > high ? factor : high;
    }
    assert_true(low < 0.91 && high > 1.09); /* fails by chance once in 10^220 */
    assert_true(hob__jitter(0) == 1);
}

static int64_t milliseconds_of(const char *uuid) {
    char digits[13];
    memcpy(digits, uuid, 8);
    memcpy(digits + 8, uuid + 9, 4);
    digits[12] = '\0';
    return strtoll(digits, NULL, 16);
}

static void test_uuid7(void **state) {
    (void)state;
    static char uuids[20000][HOB_UUID_SIZE];
    int64_t before = hob__clock_wall_us() / 1000;
    for (size_t i = 0; i < COUNT(uuids); i++)
        hob__uuid7(uuids[i]);
    int64_t after = hob__clock_wall_us() / 1000;

    for (size_t i = 0; i < COUNT(uuids); i++) {
        const char *uuid = uuids[i];
        assert_true(hob__uuid_valid(hob_text_of(uuid)));
        assert_int_equal(uuid[14], '7');
        assert_non_null(strchr("89ab", uuid[19]));
        if (i > 0)
            assert_true(strcmp(uuids[i - 1], uuid) < 0); /* in order although many fall in one millisecond */
    }
    assert_in_range(milliseconds_of(uuids[0]), before, after);
    /* The counter of a full millisecond runs into the next, so the last may be a little ahead. */
    assert_true(milliseconds_of(uuids[COUNT(uuids) - 1]) <= after + (int64_t)COUNT(uuids) / 2048 + 1);
}

static void test_uuid_valid(void **state) {
    (void)state;
    static const char *const good[] = {"00000000-0000-0000-0000-000000000000", "018F3c2a-7bCD-7def-8abc-0123456789aB"};
    static const char *const bad[] = {"",
                                      "018f3c2a-7bcd-7def-8abc-0123456789a",
                                      "018f3c2a-7bcd-7def-8abc-0123456789abc",
                                      "018f3c2a-7bcd-7def-8abc-0123456789ag",
                                      "018f3c2a07bcd-7def-8abc-0123456789ab",
                                      "018f3c2-a7bcd-7def-8abc-0123456789ab",
                                      "018f3c2a-7bcd-7def-8abc-0123456789a-",
                                      "{18f3c2a-7bcd-7def-8abc-0123456789ab",
                                      "018f3c2a7bcd7def8abc0123456789ab0000"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(hob__uuid_valid(hob_text_of(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(hob__uuid_valid(hob_text_of(bad[i])));
    assert_false(hob__uuid_valid((hob_text){NULL, 0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_repetition), cmocka_unit_test(test_fork),       cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_uuid7),         cmocka_unit_test(test_uuid_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
