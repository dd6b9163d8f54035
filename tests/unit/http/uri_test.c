#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "http/request.h"

#define SOME_ROOM (64 * 1024)

static hob_arena *arena;

static int make_arena(void **state) {
    (void)state;
    arena = hob__arena_new(SOME_ROOM);
    return arena ? 0 : -1;
}

static int drop_arena(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

static void assert_text(hob_text got, hob_text wanted) {
    if (!hob_text_equal(got, wanted))
        fail_msg("got '" HOB_FMT "', wanted '" HOB_FMT "'", HOB_ARG(got), HOB_ARG(wanted));
}

static void decodes_good_encodings(void **state) {
    static const struct {
        hob_text in;
        bool plus;
        hob_text out;
    } cases[] = {
        {HOB_TEXT(""), false, HOB_TEXT("")},
        {HOB_TEXT("plain"), false, HOB_TEXT("plain")},
        {HOB_TEXT("a%20b"), false, HOB_TEXT("a b")},
        {HOB_TEXT("a+b"), false, HOB_TEXT("a+b")},
        {HOB_TEXT("a+b%2B"), true, HOB_TEXT("a b+")},
        {HOB_TEXT("%41%5a%5A"), false, HOB_TEXT("AZZ")},
        {HOB_TEXT("%c3%A9"), false, HOB_TEXT("\xc3\xa9")},
        {HOB_TEXT("%252F"), false, HOB_TEXT("%2F")}, /* once, not twice */
        {HOB_TEXT("\xc3\xa9"), false, HOB_TEXT("\xc3\xa9")},
        {HOB_TEXT("%01"), false, HOB_TEXT("\x01")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_text out;
        assert_true(hob__percent_decode(arena, cases[i].in, cases[i].plus, &out));
        assert_text(out, cases[i].out);
    }
}

static void refuses_bad_encodings(void **state) {
    static const hob_text cases[] = {
        HOB_TEXT("%"),      HOB_TEXT("a%"),     HOB_TEXT("%4"),           HOB_TEXT("%4g"),  HOB_TEXT("%g4"),
        HOB_TEXT("%%41"),   HOB_TEXT("%00"),    HOB_TEXT("a\0b"),         HOB_TEXT("%ff"),  HOB_TEXT("\xff"),
        HOB_TEXT("%c3"),    HOB_TEXT("%c0%af"), HOB_TEXT("%ed%a0%80"),    HOB_TEXT("% 41"), HOB_TEXT("%u0041"),
        HOB_TEXT("%e2%82"), HOB_TEXT("%c3x"),   HOB_TEXT("%f4%90%80%80"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_text out;
        if (hob__percent_decode(arena, cases[i], false, &out))
            fail_msg("'" HOB_FMT "' was accepted", HOB_ARG(cases[i]));
    }
}

static void decoding_without_memory_fails(void **state) {
    (void)state;
    hob_text out;
    hob__arena_fail(arena);
    assert_false(hob__percent_decode(arena, HOB_TEXT("%41"), false, &out));
}

static void encoded_slashes_are_marked(void **state) {
    static const struct {
        hob_text raw, path, route_path;
    } cases[] = {
        {HOB_TEXT("/a/b"), HOB_TEXT("/a/b"), HOB_TEXT("/a/b")},
        {HOB_TEXT("/a%2Fb"), HOB_TEXT("/a/b"), HOB_TEXT("/a\377b")},
        {HOB_TEXT("/a%2fb/c%2F"), HOB_TEXT("/a/b/c/"), HOB_TEXT("/a\377b/c\xff")},
        {HOB_TEXT("/a%252Fb"), HOB_TEXT("/a%2Fb"), HOB_TEXT("/a%2Fb")},
        {HOB_TEXT("/%20%2F%C3%A9/"), HOB_TEXT("/ /\xc3\xa9/"), HOB_TEXT("/ \xff\xc3\xa9/")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_text path, route_path;
        assert_true(hob__path_decode(arena, cases[i].raw, &path, &route_path));
        assert_text(path, cases[i].path);
        assert_text(route_path, cases[i].route_path);
    }
}

static void finds_query_parameters(void **state) {
    static const struct {
        hob_text query, name;
        int found;
        hob_text value;
    } cases[] = {
        {{0}, HOB_TEXT("a"), 0, {0}},
        {HOB_TEXT(""), HOB_TEXT("a"), 0, {0}},
        {HOB_TEXT("a=1"), HOB_TEXT("a"), 1, HOB_TEXT("1")},
        {HOB_TEXT("a=1&a=2"), HOB_TEXT("a"), 1, HOB_TEXT("1")},
        {HOB_TEXT("b=1&a=2&c"), HOB_TEXT("a"), 1, HOB_TEXT("2")},
        {HOB_TEXT("aa=1&a=2"), HOB_TEXT("a"), 1, HOB_TEXT("2")},
        {HOB_TEXT("a=1"), HOB_TEXT("aa"), 0, {0}},
        {HOB_TEXT("a"), HOB_TEXT("a"), 1, HOB_TEXT("")},
        {HOB_TEXT("a="), HOB_TEXT("a"), 1, HOB_TEXT("")},
        {HOB_TEXT("&&=x&a=b=c&"), HOB_TEXT("a"), 1, HOB_TEXT("b=c")},
        {HOB_TEXT("a=x+y%26z"), HOB_TEXT("a"), 1, HOB_TEXT("x y&z")},
        {HOB_TEXT("%61%2b=1"), HOB_TEXT("a+"), 1, HOB_TEXT("1")},
        {HOB_TEXT("%6=0&a=1"), HOB_TEXT("a"), 1, HOB_TEXT("1")}, /* another's bad encoding is none of ours */
        {HOB_TEXT("b=%zz&a=1"), HOB_TEXT("a"), 1, HOB_TEXT("1")},
        {HOB_TEXT("a=%zz"), HOB_TEXT("a"), -1, {0}},
        {HOB_TEXT("a=%00"), HOB_TEXT("a"), -1, {0}},
        {HOB_TEXT("a=%ff"), HOB_TEXT("a"), -1, {0}},
        {HOB_TEXT("a=%"), HOB_TEXT("a"), -1, {0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_text value = {0};
        int found = hob__query_find(arena, cases[i].query, cases[i].name, &value);
        if (found != cases[i].found)
            fail_msg("'" HOB_FMT "': %d", HOB_ARG(cases[i].query), found);
        if (found > 0)
            assert_text(value, cases[i].value);
        if (found > 0)
            assert_non_null(value.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decodes_good_encodings, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(refuses_bad_encodings, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(decoding_without_memory_fails, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(encoded_slashes_are_marked, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(finds_query_parameters, make_arena, drop_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
