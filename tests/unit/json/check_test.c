/* What the check takes and refuses, and where it says the fault is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json/check.h"

static hob_arena *arena;

static int setup(void **state) {
    (void)state;
    arena = hob__arena_new((size_t)128 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

/* Out of a block of exactly its size, so that ASan sees every byte read beyond. */
static const char *fault_of(const char *bytes, size_t size, size_t *offset) {
    char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    hob__arena_reset(arena);
    const char *fault = hob__json_fault(arena, (hob_text){exact, size}, offset);
    free(exact);
    return fault;
}

typedef struct example {
    hob_text text;
    const char *fault; /* NULL: good */
    size_t offset;
} example;

#define GOOD(text)                                                                                                     \
    { HOB_TEXT(text), NULL, 0 }
#define BAD(text, fault, offset)                                                                                       \
    { HOB_TEXT(text), fault, offset }

static void run(const example *examples, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t offset = 0;
        const char *fault = fault_of(examples[i].text.data, examples[i].text.size, &offset);
        if (!fault != !examples[i].fault ||
            (fault && (strcmp(fault, examples[i].fault) != 0 || offset != examples[i].offset)))
            fail_msg("\"" HOB_FMT "\": \"%s\" at %zu instead of \"%s\" at %zu", HOB_ARG(examples[i].text),
                     fault ? fault : "good", offset, examples[i].fault ? examples[i].fault : "good",
                     examples[i].offset);
    }
}

#define RUN(examples) run(examples, sizeof(examples) / sizeof *(examples))

static void grammar(void **state) {
    (void)state;
    static const example examples[] = {
        GOOD("null"),
        GOOD("true"),
        GOOD(" false\r\n\t"),
        GOOD("[]"),
        GOOD("{}"),
        GOOD("[ ]"),
        GOOD("{ }"),
        GOOD("\"\""),
        GOOD("[1,\"a\",null,true,false,{},[]]"),
        GOOD("{\"a\" : 1 , \"b\" : [ {\"a\":{\"a\":2}} ] }"),
        BAD("", "expected a value", 0),
        BAD("  ", "expected a value", 2),
        BAD("\xEF\xBB\xBF{}", "expected a value", 0),
        BAD("nul", "expected a value", 0),
        BAD("True", "expected a value", 0),
        BAD("NaN", "expected a value", 0),
        BAD("Infinity", "expected a value", 0),
        BAD("nullx", "expected the end", 4),
        BAD("{} {}", "expected the end", 3),
        BAD("[", "expected a value", 1),
        BAD("[1", "expected ',' or ']'", 2),
        BAD("[1,", "expected a value", 3),
        BAD("[1,]", "expected a value", 3),
        BAD("[,1]", "expected a value", 1),
        BAD("[1 2]", "expected ',' or ']'", 3),
        BAD("[1}", "expected ',' or ']'", 2),
        BAD("]", "expected a value", 0),
        BAD("{", "expected a key", 1),
        BAD("{\"a\"", "expected ':'", 4),
        BAD("{\"a\":", "expected a value", 5),
        BAD("{\"a\":1", "expected ',' or '}'", 6),
        BAD("{\"a\":1,", "expected a key", 7),
        BAD("{\"a\":1,}", "expected a key", 7),
        BAD("{a:1}", "expected a key", 1),
        BAD("{'a':1}", "expected a key", 1),
        BAD("['a']", "expected a value", 1),
        BAD("{\"a\" 1}", "expected ':'", 5),
        BAD("{\"a\":1]", "expected ',' or '}'", 6),
        BAD("{1:1}", "expected a key", 1),
        BAD("[1]/**/", "expected the end", 3),
        BAD("//\n1", "expected a value", 0),
        BAD("[1\0]", "expected ',' or ']'", 2),
        BAD("1\0", "expected the end", 1),
        BAD("\f1", "expected a value", 0),
        BAD("[\xA0]", "expected a value", 1),
        BAD("{\"a\":}", "expected a value", 5),
    };
    RUN(examples);
}

static void numbers(void **state) {
    (void)state;
    static const example examples[] = {
        GOOD("0"),
        GOOD("-0"),
        GOOD("-1"),
        GOOD("0.5"),
        GOOD("-0.0e-0"),
        GOOD("1e5"),
        GOOD("1E+05"),
        GOOD("10.25e-3"),
        GOOD("9223372036854775807"),
        GOOD("-9223372036854775808"),
        GOOD("1.7976931348623157e308"),
        GOOD("-17976931348623157.9999e292"),
        GOOD("0.00017976931348623157e312"),
        GOOD("1e-400"),
        GOOD("0e999999999999999999999"),
        GOOD("0.0000e400"),
        GOOD("99999999999999999999.0"),
        GOOD("1e-99999999999999999999"),
        BAD("9223372036854775808", "number out of range", 0),
        BAD("[-9223372036854775809]", "number out of range", 1),
        BAD("18446744073709551616", "number out of range", 0),
        BAD("100000000000000000000", "number out of range", 0),
        BAD("1e309", "number out of range", 0),
        BAD("[0.01e311]", "number out of range", 1),
        BAD("1.7976931348623159e308", "number out of range", 0),
        BAD("2e308", "number out of range", 0),
        BAD("1e99999999999999999999999", "number out of range", 0),
        BAD("-1e400", "number out of range", 0),
        BAD("01", "a number must not begin with 0", 0),
        BAD("-01", "a number must not begin with 0", 1),
        BAD("00", "a number must not begin with 0", 0),
        BAD("1.", "expected a digit", 2),
        BAD("[1.]", "expected a digit", 3),
        BAD(".5", "expected a value", 0),
        BAD("-", "expected a digit", 1),
        BAD("-a", "expected a digit", 1),
        BAD("+1", "expected a value", 0),
        BAD("1e", "expected a digit", 2),
        BAD("1e+", "expected a digit", 3),
        BAD("1.e5", "expected a digit", 2),
        BAD("0x10", "expected the end", 1),
        BAD("1.5.2", "expected the end", 3),
        BAD("--1", "expected a digit", 1),
        BAD("-Infinity", "expected a digit", 1),
        BAD("1_000", "expected the end", 1),
    };
    RUN(examples);
}

static void strings(void **state) {
    (void)state;
    static const example examples[] = {
        GOOD("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""),
        GOOD("\"\\u0000\""),
        GOOD("\"\x7F\""),
        GOOD("\"\\ud83d\\ude00\""),
        GOOD("\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF\""),
        GOOD("\"\\uDBFF\\uDFFFx\""),
        GOOD("\"12345678\xC3\xA9"
             "12345678\""),
        GOOD("\"1234567\\n12345678\""),
        GOOD("\"\xED\x9F\xBF\xEE\x80\x80\""),
        BAD("\"", "unterminated string", 1),
        BAD("\"abc", "unterminated string", 4),
        BAD("\"abc\\", "unterminated string", 5),
        BAD("\"\\\"", "unterminated string", 3),
        BAD("\"a\nb\"", "control character in a string", 2),
        BAD("\"12345678\t\"", "control character in a string", 9),
        BAD("\"\0\"", "control character in a string", 1),
        BAD("\"\x1F\"", "control character in a string", 1),
        BAD("\"\\a\"", "invalid escape", 1),
        BAD("\"\\'\"", "invalid escape", 1),
        BAD("\"\\\0\"", "invalid escape", 1),
        BAD("\"\\u12\"", "invalid escape", 1),
        BAD("\"\\u12g4\"", "invalid escape", 1),
        BAD("\"\\U0041\"", "invalid escape", 1),
        BAD("\"\\u\"", "invalid escape", 1),
        BAD("\"x\\ud800\"", "unpaired surrogate", 2),
        BAD("\"\\udc00\"", "unpaired surrogate", 1),
        BAD("\"\\ud800\\ud800\"", "unpaired surrogate", 1),
        BAD("\"\\ud800x\"", "unpaired surrogate", 1),
        BAD("\"\\ud800\\n\"", "unpaired surrogate", 1),
        BAD("\"\\ud800\\udc0\"", "unpaired surrogate", 1),
        BAD("\"\\udc00\\ud800\"", "unpaired surrogate", 1),
        BAD("\"\xFF\"", "invalid UTF-8", 1),
        BAD("\"a\x80\"", "invalid UTF-8", 2),
        BAD("\"\xC0\x80\"", "invalid UTF-8", 1),
        BAD("\"\xC1\xBF\"", "invalid UTF-8", 1),
        BAD("\"\xE0\x9F\xBF\"", "invalid UTF-8", 1),
        BAD("\"\xED\xA0\x80\"", "invalid UTF-8", 1),
        BAD("\"\xF0\x8F\xBF\xBF\"", "invalid UTF-8", 1),
        BAD("\"\xF4\x90\x80\x80\"", "invalid UTF-8", 1),
        BAD("\"\xF5\x80\x80\x80\"", "invalid UTF-8", 1),
        BAD("\"\xC3\xA9\xC3\"", "invalid UTF-8", 3),
        BAD("\"\xE2\x82\"", "invalid UTF-8", 1),
        BAD("\"\xC3", "invalid UTF-8", 1),
        BAD("\"\xE2\\u0041\"", "invalid UTF-8", 1),
        BAD("{\"\xC3\":1}", "invalid UTF-8", 2),
    };
    RUN(examples);
}

static void keys(void **state) {
    (void)state;
    static const example examples[] = {
        GOOD("{\"a\":1,\"b\":{\"a\":1},\"c\":[{\"a\":1},{\"a\":1}]}"),
        GOOD("{\"\":1,\" \":2}"),
        GOOD("{\"a\":1,\"A\":2}"),
        GOOD("{\"a\":{\"b\":1},\"b\":1}"),
        GOOD("[{\"a\":1},{\"a\":1}]"),
        GOOD("{\"a\\u0301\":1,\"\\u00e1\":2}"),
        BAD("{\"a\":1,\"a\":1}", "duplicate key", 7),
        BAD("{\"\":1,\"\":2}", "duplicate key", 6),
        BAD("{\"a\":1,\"\\u0061\":1}", "duplicate key", 7),
        BAD("{\"\\u0061\":1,\"\\u0061\":1}", "duplicate key", 12),
        BAD("{\"\\n\":1,\"\\u000a\":1}", "duplicate key", 8),
        BAD("{\"/\":1,\"\\/\":1}", "duplicate key", 7),
        BAD("{\"\\u00e9\":1,\"\xC3\xA9\":1}", "duplicate key", 12),
        BAD("{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":1}", "duplicate key", 18),
        BAD("{\"\xE2\x82\xAC\":1,\"\\u20ac\":1}", "duplicate key", 9),
        BAD("{\"a\":{\"b\":1,\"c\":2},\"a\":3}", "duplicate key", 19),
        BAD("[{\"a\":[{\"b\":1,\"b\":2}]}]", "duplicate key", 14),
        BAD("{\"k\\u0000a\":1}", "U+0000 in a key", 1),
        BAD("{\"x\":1,\"\\u0000\":1}", "U+0000 in a key", 7),
    };
    RUN(examples);
}

static void every_cut_of_a_text_is_refused(void **state) {
    (void)state;
    static const char whole[] = "{\"k\\u00e9y\":[-1.5e+3,\"\\ud83d\\ude00\xE2\x82\xAC\",true,null,{\"a\":[]}]}";
    size_t offset;
    assert_null(fault_of(whole, sizeof whole - 1, &offset));
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        assert_non_null(fault_of(whole, size, &offset));
        assert_true(offset <= size);
    }
}

static void depth(void **state) {
    (void)state;
    char text[512];
    size_t offset;
    for (int kind = 0; kind < 2; kind++) {
        const char *begin = kind ? "{\"a\":" : "[", *end = kind ? "}" : "]";
        for (int levels = HOB_JSON_DEPTH; levels <= HOB_JSON_DEPTH + 1; levels++) {
            size_t size = 0;
            for (int i = 0; i < levels; i++)
                size += (size_t)snprintf(text + size, sizeof text - size, "%s", begin);
            text[size++] = '1';
            for (int i = 0; i < levels; i++)
                text[size++] = *end;
            const char *fault = fault_of(text, size, &offset);
            if (levels == HOB_JSON_DEPTH) {
                assert_null(fault);
                continue;
            }
            assert_string_equal(fault, "nested too deeply");
            assert_int_equal(offset, strlen(begin) * HOB_JSON_DEPTH);
        }
    }
}

static char *repeated(size_t count, size_t each, const char *format, const char *begin, const char *end, size_t *size) {
    size_t room = count * each + strlen(begin) + strlen(end) + 1;
    char *text = malloc(room);
    assert_non_null(text);
    *size = (size_t)snprintf(text, room, "%s", begin);
    for (size_t i = 0; i < count; i++) {
        *size += (size_t)snprintf(text + *size, room - *size, i ? "," : "");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        *size += (size_t)snprintf(text + *size, room - *size, format, i);
#pragma GCC diagnostic pop
    }
    *size += (size_t)snprintf(text + *size, room - *size, "%s", end);
    return text;
}

static void many_keys(void **state) {
    (void)state;
    size_t size, offset;
    char *text = repeated(100000, 24, "\"key%zu\":1", "{", "}", &size);
    clock_t begin = clock();
    assert_null(fault_of(text, size, &offset));
    /* A comparison of all pairs would take half a minute and more. */
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 5);
    free(text);

    text = repeated(100000, 24, "\"key%zu\":1", "{", ",\"\\u006bey77777\":1}", &size);
    assert_string_equal(fault_of(text, size, &offset), "duplicate key");
    assert_int_equal(offset, size - strlen("\"\\u006bey77777\":1}"));
    free(text);
}

static void keys_beyond_those_compared_one_by_one(void **state) {
    (void)state;
    size_t offset;
    for (size_t count = 1; count < 300; count += count < 70 ? 1 : 13) {
        for (size_t twice = 0; twice < count; twice += count / 7 + 1) {
            char end[64];
            size_t size, tail = (size_t)snprintf(end, sizeof end, ",\"%zu\":0}", twice);
            char *text = repeated(count, 24, "\"%zu\":0", "{", end, &size);
            assert_string_equal(fault_of(text, size, &offset), "duplicate key");
            assert_int_equal(offset, size - tail + 1);
            free(text);
        }
    }
}

/* A large object's table is left behind for the small ones of its depth, and must not be cleared for each. */
static void many_objects_behind_a_large_one(void **state) {
    (void)state;
    size_t size, more, offset;
    char *large = repeated(600000, 24, "\"key%zu\":1", "[{", "}", &size);
    char *small = repeated(60000, 200,
                           "{\"a\":%zu,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,"
                           "\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"q\":1,\"r\":1,\"s\":1}",
                           ",", "]", &more);
    char *text = malloc(size + more);
    assert_non_null(text);
    memcpy(text, large, size);
    memcpy(text + size, small, more);
    clock_t begin = clock();
    assert_null(fault_of(text, size + more, &offset));
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 5);
    free(text);
    free(small);
    free(large);
}

static void containers(void **state) {
    (void)state;
    size_t size, offset;
    char *text = repeated(HOB_JSON_CONTAINERS - 1, 4, "{}", "[", "]", &size);
    assert_null(fault_of(text, size, &offset));
    free(text);

    text = repeated(HOB_JSON_CONTAINERS, 4, "[]", "[", "]", &size);
    assert_string_equal(fault_of(text, size, &offset), "too many arrays and objects");
    assert_int_equal(offset, size - 3);
    free(text);

    text = repeated(HOB_JSON_CONTAINERS + 100, 32, "[\"0123456789abc\"]", "[", "]", &size);
    assert_null(fault_of(text, size, &offset));
    free(text);
}

static void no_memory(void **state) {
    (void)state;
    size_t size, offset;
    char *text = repeated(10000, 24, "\"key%zu\":1", "{", "}", &size);
    hob_arena *small = hob__arena_new(100000);
    assert_non_null(small);
    assert_string_equal(hob__json_fault(small, (hob_text){text, size}, &offset), "out of memory");
    assert_true(hob__arena_failed(small));
    hob__arena_free(small);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar),
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings),
        cmocka_unit_test(keys),
        cmocka_unit_test(every_cut_of_a_text_is_refused),
        cmocka_unit_test(depth),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(keys_beyond_those_compared_one_by_one),
        cmocka_unit_test(many_objects_behind_a_large_one),
        cmocka_unit_test(containers),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
