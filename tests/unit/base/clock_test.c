#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_monotonic(void **state) {
    (void)state;
    int64_t before = hob__clock_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = hob__clock_ns();
        assert_true(now >= before);
        before = now;
    }
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    assert_true(hob__clock_ns() - before >= 2 * HOB_MS);
}

static void test_wall(void **state) {
    (void)state;
    int64_t before = time(NULL);
    int64_t now = hob__clock_wall_us() / 1000000;
    assert_true(now >= before - 1 && now <= (int64_t)time(NULL) + 1);
}

static void test_format(void **state) {
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {-1000000, "1969-12-31T23:59:59.000000Z"},
        {INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
        {INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z"}, /* 2100 has no leap day */
        {INT64_C(4107542399999999), "2100-02-28T23:59:59.999999Z"},
        {INT64_C(946684800000000), "2000-01-01T00:00:00.000000Z"}, /* PostgreSQL's zero */
        {INT64_C(-62135596800000000), "0001-01-01T00:00:00.000000Z"},
        {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"},
        {INT64_C(-62135596800000001), ""},
        {INT64_C(253402300800000000), ""},
        {INT64_MIN, ""}, /* PostgreSQL's -infinity */
        {INT64_MAX, ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[HOB_TIME_SIZE];
        memset(text, 'x', sizeof text);
        assert_int_equal(hob__time_format(cases[i].us, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
}

/* Against the C library: about every day of a thousand years and more, coarser in the far future. */
static void test_format_calendar(void **state) {
    (void)state;
    int64_t first = INT64_C(-62135596800), last = INT64_C(253402300799);
    for (int64_t seconds = first; seconds <= last; seconds += 86400 + 3671) {
        char expected[HOB_TIME_SIZE + 40], text[HOB_TIME_SIZE];
        struct tm tm;
        time_t wanted = (time_t)seconds;
        assert_non_null(gmtime_r(&wanted, &tm));
        snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.000042Z", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_int_equal(hob__time_format(seconds * 1000000 + 42, text), HOB_TIME_SIZE - 1);
        if (strcmp(text, expected) != 0)
            fail_msg("%s, not %s", text, expected);
        if (seconds > INT64_C(1) << 34 && seconds < last - (INT64_C(1) << 34))
            seconds += 86400 * 29;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_wall),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_format_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
