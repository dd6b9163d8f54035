#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
static const hob_text NONE = {NULL, 0};

/* On the heap and of its exact size, so that a sanitizer sees a read beyond the end. */
static hob_text exact(hob_text text) {
    char *copy = malloc(text.size > 0 ? text.size : 1);
    assert_non_null(copy);
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    return (hob_text){copy, text.size};
}

static void assert_text(hob_text text, const char *expected) {
    assert_int_equal(text.size, strlen(expected));
    assert_non_null(text.data);
    assert_memory_equal(text.data, expected, text.size);
}

static void test_text_of(void **state) {
    (void)state;
    assert_text(hob_text_of("abc"), "abc");
    assert_text(hob_text_of(""), "");
    assert_null(hob_text_of(NULL).data);
    assert_int_equal(hob_text_of(NULL).size, 0);
}

static void test_equal(void **state) {
    (void)state;
    assert_true(hob_text_equal(HOB_TEXT("a\0b"), HOB_TEXT("a\0b")));
    assert_false(hob_text_equal(HOB_TEXT("a\0b"), HOB_TEXT("a\0c")));
    assert_false(hob_text_equal(HOB_TEXT("ab"), HOB_TEXT("abc")));
    assert_false(hob_text_equal(HOB_TEXT("a"), HOB_TEXT("A")));
    assert_true(hob_text_equal(NONE, HOB_TEXT("")));
}

static void test_equal_nocase(void **state) {
    (void)state;
    assert_true(hob__text_equal_nocase(HOB_TEXT("Content-Type"), HOB_TEXT("cONTENT-tYPE")));
    assert_false(hob__text_equal_nocase(HOB_TEXT("ab"), HOB_TEXT("abc")));
    assert_false(hob__text_equal_nocase(HOB_TEXT("[@{"), HOB_TEXT("{`["))); /* neighbours of letters, 0x20 apart */
    assert_false(hob__text_equal_nocase(HOB_TEXT("\xc3\x84"), HOB_TEXT("\xc3\xa4"))); /* ASCII letters only */
    assert_true(hob__text_equal_nocase(NONE, NONE));
}

static void test_starts(void **state) {
    (void)state;
    assert_true(hob__text_starts(HOB_TEXT("/api/v1"), HOB_TEXT("/api")));
    assert_true(hob__text_starts(HOB_TEXT("/api"), HOB_TEXT("/api")));
    assert_true(hob__text_starts(HOB_TEXT(""), HOB_TEXT("")));
    assert_false(hob__text_starts(HOB_TEXT("/ap"), HOB_TEXT("/api")));
    assert_false(hob__text_starts(HOB_TEXT("/xpi"), HOB_TEXT("/api")));
    assert_true(hob__text_starts(NONE, NONE));
}

static void test_trim(void **state) {
    (void)state;
    static const struct {
        const char *text, *trimmed;
    } cases[] = {{"a", "a"},  {" \t\r\n\v\fa b\t ", "a b"}, {"", ""},
                 {"   ", ""}, {"\xc2\xa0", "\xc2\xa0"},     {" \xe2\x80\x83x", "\xe2\x80\x83x"}};
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_text(hob__text_trim(hob_text_of(cases[i].text)), cases[i].trimmed);
    assert_null(hob__text_trim(NONE).data);
}

static void test_split(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *parts[4]; /* ended by NULL */
    } cases[] = {{"a,b,c", {"a", "b", "c"}},
                 {"a,", {"a", ""}},
                 {",a", {"", "a"}},
                 {",", {"", ""}},
                 {"", {""}},
                 {"abc", {"abc"}}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        hob_text rest = hob_text_of(cases[i].text), part;
        for (const char *const *expected = cases[i].parts; *expected; expected++) {
            assert_true(hob__text_split(&rest, ',', &part));
            assert_text(part, *expected);
        }
        assert_false(hob__text_split(&rest, ',', &part));
        assert_false(hob__text_split(&rest, ',', &part));
    }
}

static void test_to_int(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"7", 7},
                {"-12", -12},
                {"007", 7},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"000000000000000000000000000001", 1}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1a",
                                      "a",
                                      "0x10",
                                      "1.0",
                                      "--1",
                                      "1e3",
                                      "-+1",
                                      "1-",
                                      "\xd9\xa1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999"};

    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t value = 99;
        assert_true(hob__text_to_int(hob_text_of(good[i].text), &value));
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t value = 99;
        if (hob__text_to_int(hob_text_of(bad[i]), &value))
            fail_msg("accepted '%s'", bad[i]);
        assert_int_equal(value, 99);
    }
    int64_t value = 99;
    assert_false(hob__text_to_int(NONE, &value));
    assert_false(hob__text_to_int(HOB_TEXT("1\0"), &value));
}

typedef struct utf8_case {
    hob_text text;
    size_t valid;
} utf8_case;

static const utf8_case utf8_cases[] = {
    {{"", 0}, 0},
    {{NULL, 0}, 0},
    {{"a\0b", 3}, 3},
    {{"0123456789abcdef", 16}, 16},
    {{"01234567\xff", 9}, 8},
    {{"0123456\xc3\xa4"
      "9",
      10},
     10}, /* a character across the eight bytes read at once */
    {{"\x7f", 1}, 1},
    {{"\x80", 1}, 0},
    {{"\xc2\x80", 2}, 2},
    {{"\xdf\xbf", 2}, 2},
    {{"\xe0\xa0\x80", 3}, 3},
    {{"\xed\x9f\xbf", 3}, 3},
    {{"\xee\x80\x80", 3}, 3},
    {{"\xef\xbf\xbf", 3}, 3},
    {{"\xf0\x90\x80\x80", 4}, 4},
    {{"\xf4\x8f\xbf\xbf", 4}, 4},
    {{"\xc0\x80", 2}, 0},         /* overlong NUL */
    {{"\xc1\xbf", 2}, 0},         /* overlong */
    {{"\xe0\x9f\xbf", 3}, 0},     /* overlong */
    {{"\xf0\x8f\xbf\xbf", 4}, 0}, /* overlong */
    {{"\xed\xa0\x80", 3}, 0},     /* surrogate */
    {{"\xed\xbf\xbf", 3}, 0},     /* surrogate */
    {{"\xf4\x90\x80\x80", 4}, 0}, /* above U+10FFFF */
    {{"\xf5\x80\x80\x80", 4}, 0},
    {{"\xfe", 1}, 0},
    {{"a\xc3", 2}, 1},
    {{"a\xe2\x82", 3}, 1},
    {{"a\xf0\x9f\x98", 4}, 1},
    {{"\xe2\x28\xa1", 3}, 0},
    {{"\xe2\x82\x28", 3}, 0},
    {{"\xf0\x9f\x98\xc0", 4}, 0},
    {{"\xc3\xa4\xa4", 3}, 2},
};

static void test_utf8(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(utf8_cases); i++) {
        hob_text text = exact(utf8_cases[i].text);
        if (hob__utf8_valid_prefix(text) != utf8_cases[i].valid)
            fail_msg("case %zu: %zu", i, hob__utf8_valid_prefix(text));
        free((char *)text.data);
    }
}

/* Every code point, encoded here by the definition. */
static void test_utf8_all_characters(void **state) {
    (void)state;
    for (uint32_t point = 0; point < 0x110000; point++) {
        char bytes[4];
        size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
        uint32_t left = point;
        for (size_t i = size - 1; i > 0; i--, left >>= 6)
            bytes[i] = (char)(0x80 | (left & 0x3f));
        bytes[0] = (char)(marks[size] | left);
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        if (hob__utf8_first((hob_text){bytes, size}) != (surrogate ? 0 : size))
            fail_msg("U+%04X", (unsigned)point);
    }
}

static void test_utf8_first(void **state) {
    (void)state;
    assert_int_equal(hob__utf8_first(HOB_TEXT("a\xff")), 1);
    assert_int_equal(hob__utf8_first(HOB_TEXT("\xc3\xa4\x80")), 2);
    assert_int_equal(hob__utf8_first(HOB_TEXT("\xff"
                                              "a")),
                     0);
    assert_int_equal(hob__utf8_first(HOB_TEXT("")), 0);
    assert_int_equal(hob__utf8_first(NONE), 0);
}

static void test_utf8_length(void **state) {
    (void)state;
    assert_int_equal(hob__utf8_length(HOB_TEXT("")), 0);
    assert_int_equal(hob__utf8_length(HOB_TEXT("abc")), 3);
    assert_int_equal(hob__utf8_length(HOB_TEXT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80x")), 4);
    assert_int_equal(hob__utf8_length(HOB_TEXT("e\xcc\x81")), 2); /* code points, not graphemes */
}

static void test_control(void **state) {
    (void)state;
    static const utf8_case without[] = {{{"", 0}, 0},         {{NULL, 0}, 0},       {{" ~", 2}, 0},
                                        {{"\xc2\xa0", 2}, 0}, {{"\xc3\x80", 2}, 0}, {{"\xe2\x82\x80", 3}, 0}};
    static const utf8_case with[] = {{{"a\0", 2}, 0},   {{"\n", 1}, 0},       {{"\x1f", 1}, 0},
                                     {{"a\x7f", 2}, 0}, {{"\xc2\x80", 2}, 0}, {{"a\xc2\x9f", 3}, 0}};
    for (size_t i = 0; i < COUNT(without); i++)
        assert_false(hob__text_has_control(without[i].text));
    for (size_t i = 0; i < COUNT(with); i++)
        assert_true(hob__text_has_control(with[i].text));
}

static void test_hash(void **state) { /* its authors' test vectors */
    (void)state;
    assert_int_equal(hob__text_hash(NONE), 0x811c9dc5);
    assert_int_equal(hob__text_hash(HOB_TEXT("a")), 0xe40c292c);
    assert_int_equal(hob__text_hash(HOB_TEXT("foobar")), 0xbf9cf968);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_equal_nocase),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_to_int),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_all_characters),
        cmocka_unit_test(test_utf8_first),
        cmocka_unit_test(test_utf8_length),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
