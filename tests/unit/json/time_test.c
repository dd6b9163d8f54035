/* RFC 3339 read, against the clock that writes it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "json/time.h"

static void good(void **state) {
    (void)state;
    static const struct {
        hob_text text;
        const char *utc;
    } examples[] = {
        {HOB_TEXT("2026-11-24T21:59:23Z"), "2026-11-24T21:59:23.000000Z"},
        {HOB_TEXT("2026-11-24t21:59:23z"), "2026-11-24T21:59:23.000000Z"},
        {HOB_TEXT("2026-11-24T21:59:23.5Z"), "2026-11-24T21:59:23.500000Z"},
        {HOB_TEXT("2026-11-24T21:59:23.000001Z"), "2026-11-24T21:59:23.000001Z"},
        {HOB_TEXT("2026-11-24T21:59:23.999999999999Z"), "2026-11-24T21:59:23.999999Z"},
        {HOB_TEXT("2026-11-24T23:59:23+02:00"), "2026-11-24T21:59:23.000000Z"},
        {HOB_TEXT("2026-11-24T16:29:23-05:30"), "2026-11-24T21:59:23.000000Z"},
        {HOB_TEXT("2027-01-01T00:30:00+01:00"), "2026-12-31T23:30:00.000000Z"},
        {HOB_TEXT("1969-12-31T23:59:59.999999Z"), "1969-12-31T23:59:59.999999Z"},
        {HOB_TEXT("2016-12-31T23:59:60Z"), "2017-01-01T00:00:00.000000Z"},
        {HOB_TEXT("2000-02-29T00:00:00Z"), "2000-02-29T00:00:00.000000Z"},
        {HOB_TEXT("2024-02-29T12:00:00-00:00"), "2024-02-29T12:00:00.000000Z"},
        {HOB_TEXT("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000000Z"},
        {HOB_TEXT("0000-12-31T23:00:00-01:00"), "0001-01-01T00:00:00.000000Z"},
        {HOB_TEXT("9999-12-31T23:59:59.999999Z"), "9999-12-31T23:59:59.999999Z"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        char utc[HOB_TIME_SIZE];
        int64_t us;
        if (!hob__time_parse(examples[i].text, &us))
            fail_msg(HOB_FMT " is refused", HOB_ARG(examples[i].text));
        hob__time_format(us, utc);
        assert_string_equal(utc, examples[i].utc);
    }
}

static void bad(void **state) {
    (void)state;
    static const hob_text examples[] = {
        HOB_TEXT(""),
        HOB_TEXT("2026"),
        HOB_TEXT("2026-11-24"),
        HOB_TEXT("2026-11-24T21:59:23"),
        HOB_TEXT("2026-11-24 21:59:23Z"),
        HOB_TEXT("2026-11-24T21:59Z"),
        HOB_TEXT("2026-11-24T21:59:23.Z"),
        HOB_TEXT("2026-11-24T21:59:23,5Z"),
        HOB_TEXT("2026-11-24T21:59:23.5"),
        HOB_TEXT("2026-11-24T21:59:23ZZ"),
        HOB_TEXT("2026-11-24T21:59:23Z "),
        HOB_TEXT(" 2026-11-24T21:59:23Z"),
        HOB_TEXT("2026-11-24T21:59:23+01"),
        HOB_TEXT("2026-11-24T21:59:23+0100"),
        HOB_TEXT("2026-11-24T21:59:23+24:00"),
        HOB_TEXT("2026-11-24T21:59:23+00:60"),
        HOB_TEXT("2026-11-24T24:00:00Z"),
        HOB_TEXT("2026-11-24T23:60:00Z"),
        HOB_TEXT("2026-11-24T23:59:61Z"),
        HOB_TEXT("2026-13-01T00:00:00Z"),
        HOB_TEXT("2026-00-01T00:00:00Z"),
        HOB_TEXT("2026-01-00T00:00:00Z"),
        HOB_TEXT("2026-02-29T00:00:00Z"),
        HOB_TEXT("1900-02-29T00:00:00Z"),
        HOB_TEXT("2026-04-31T00:00:00Z"),
        HOB_TEXT("26-11-24T21:59:23Z"),
        HOB_TEXT("+2026-11-24T21:59:23Z"),
        HOB_TEXT("2026-1-24T21:59:23Z"),
        HOB_TEXT("0000-12-31T23:59:59Z"),
        HOB_TEXT("0001-01-01T00:00:00+00:01"),
        HOB_TEXT("9999-12-31T23:59:60Z"),
        HOB_TEXT("9999-12-31T23:59:59-00:01"),
        HOB_TEXT("2026-11-24T21:59:2\0Z"),
        HOB_TEXT("2026-11-24T21:59:-1Z"),
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        int64_t us;
        if (hob__time_parse(examples[i], &us))
            fail_msg(HOB_FMT " is taken", HOB_ARG(examples[i]));
    }
}

static void every_day_there_and_back(void **state) {
    (void)state;
    const int64_t day = INT64_C(86400) * 1000000, first = INT64_C(-62135596800) * 1000000;
    for (int64_t i = 0; i < 3652059; i += 7) {
        char text[HOB_TIME_SIZE];
        int64_t us, wanted = first + i * day + i;
        size_t size = hob__time_format(wanted, text);
        assert_true(hob__time_parse((hob_text){text, size}, &us));
        assert_int_equal(us, wanted);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
        cmocka_unit_test(every_day_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
