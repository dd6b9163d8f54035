#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "data/db_private.h"

static hob_arena *arena;

static int setup(void **state) {
    (void)state;
    arena = hob__arena_new(1 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

static void values_become_binary(void **state) {
    (void)state;
    static const int64_t ints[] = {1, -2};
    static const hob_text texts[] = {{"a", 1}, {NULL, 0}, {"", 0}};
    static const bool bools[] = {true, false};
    static const double doubles[] = {1.5};
    static const hob_text uuids[] = {{"0190A2f0-0001-7002-8003-00000000ff04", 36}, {NULL, 0}};
    static const hob_text byteas[] = {{"\0\xff", 2}, {NULL, 0}};
#define BYTES(literal) literal, sizeof(literal) - 1
    const struct {
        hob_param param;
        Oid type;
        const char *bytes;
        size_t size;
    } cases[] = {
        {hob_int(1), 20, BYTES("\0\0\0\0\0\0\0\1")},
        {hob_int(INT64_MIN), 20, BYTES("\x80\0\0\0\0\0\0\0")},
        {hob_bool(true), 16, BYTES("\1")},
        {hob_bool(false), 16, BYTES("\0")},
        {hob_double(1.5), 701, BYTES("\x3f\xf8\0\0\0\0\0\0")},
        {hob_double(-INFINITY), 701, BYTES("\xff\xf0\0\0\0\0\0\0")},
        {hob_time(946684800000001), 1184, BYTES("\0\0\0\0\0\0\0\1")},
        {hob_time(946684799999999), 1184, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff")},
        /* not PostgreSQL's -infinity */
        {hob_time(INT64_MIN), 1184, BYTES("\x80\0\0\0\0\0\0\1")},
        {hob_ints(ints, 2), 1016,
         BYTES("\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0\2\0\0\0\1\0\0\0\x8\0\0\0\0\0\0\0\1\0\0\0\x8\xff\xff\xff\xff\xff\xff"
               "\xff\xfe")},
        {hob_ints(NULL, 0), 1016, BYTES("\0\0\0\0\0\0\0\0\0\0\0\x14")},
        {hob_texts(texts, 3), 1009,
         BYTES("\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1\0\0\0\1"
               "a\xff\xff\xff\xff\0\0\0\0")},
        {hob_texts(NULL, 0), 1009, BYTES("\0\0\0\0\0\0\0\0\0\0\0\x19")},
        {hob_uuid(uuids[0]), 2950, BYTES("\x01\x90\xa2\xf0\0\x01\x70\x02\x80\x03\0\0\0\0\xff\x04")},
        {hob_bytea(byteas[0]), 17, BYTES("\0\xff")},
        {hob_bytea(HOB_TEXT("")), 17, BYTES("")},
        {hob_bools(bools, 2), 1000, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x10\0\0\0\2\0\0\0\1\0\0\0\1\1\0\0\0\1\0")},
        {hob_doubles(doubles, 1), 1022,
         BYTES("\0\0\0\1\0\0\0\0\0\0\x02\xbd\0\0\0\1\0\0\0\1\0\0\0\x8\x3f\xf8\0\0\0\0\0\0")},
        {hob_times((const int64_t[]){946684800000001}, 1), 1185,
         BYTES("\0\0\0\1\0\0\0\0\0\0\x04\xa0\0\0\0\1\0\0\0\1\0\0\0\x8\0\0\0\0\0\0\0\1")},
        {hob_uuids(uuids, 2), 2951,
         BYTES("\0\0\0\1\0\0\0\1\0\0\x0b\x86\0\0\0\2\0\0\0\1\0\0\0\x10\x01\x90\xa2\xf0\0\x01\x70\x02\x80"
               "\x03\0\0\0\0\xff\x04\xff\xff\xff\xff")},
        {hob_byteas(byteas, 2), 1001,
         BYTES("\0\0\0\1\0\0\0\1\0\0\0\x11\0\0\0\2\0\0\0\1\0\0\0\2\0\xff\xff\xff\xff\xff")},
        {hob_uuids(NULL, 0), 2951, BYTES("\0\0\0\0\0\0\0\0\0\0\x0b\x86")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hob_db_params out;
        assert_int_equal(hob__db_encode(arena, &cases[i].param, 1, &out), HOB_OUTCOME_GOOD);
        assert_int_equal(out.count, 1);
        assert_int_equal(out.types[0], cases[i].type);
        assert_int_equal(out.formats[0], 1);
        assert_int_equal(out.lengths[0], cases[i].size);
        assert_memory_equal(out.values[0], cases[i].bytes, cases[i].size);
    }
}

static void text_stays_text_of_a_type_the_server_infers(void **state) {
    (void)state;
    const hob_param params[] = {hob_str(HOB_TEXT("gr\xc3\xbc\xc3\x9f")), hob_str((hob_text){"cut here", 3}),
                                hob_str(HOB_TEXT("")), hob_str((hob_text){0}), hob_null()};
    static const char *const expected[] = {"gr\xc3\xbc\xc3\x9f", "cut", "", NULL, NULL};
    hob_db_params out;
    assert_int_equal(hob__db_encode(arena, params, 5, &out), HOB_OUTCOME_GOOD);
    assert_int_equal(out.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(out.types[i], 0);
        assert_int_equal(out.formats[i], 0);
        if (expected[i])
            assert_string_equal(out.values[i], expected[i]);
        else
            assert_null(out.values[i]);
    }
}

static void text_that_the_database_cannot_hold_is_refused(void **state) {
    (void)state;
    static const hob_text bad[] = {{"a\0b", 3},
                                   {"\0", 1},
                                   {"\xff", 1},
                                   {"\xc3", 1},
                                   {"\xc0\x80", 2},
                                   {"\xed\xa0\x80", 3},
                                   {"ok\xf4\x90\x80\x80", 6}};
    hob_db_params out;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const hob_text list[] = {HOB_TEXT("good"), bad[i]};
        const hob_param params[] = {hob_int(1), hob_str(bad[i])}, in_array = hob_texts(list, 2);
        assert_int_equal(hob__db_encode(arena, params, 2, &out), HOB_OUTCOME_BAD_TEXT);
        assert_int_equal(hob__db_encode(arena, &in_array, 1, &out), HOB_OUTCOME_BAD_TEXT);
    }
}

/* Refused before it is sent, so the server's "invalid input syntax" is never needed to know it. */
static void what_is_no_uuid_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "0190a2f0-0001-7002-8003-00000000ff0",
                                      "0190a2f0-0001-7002-8003-00000000ff04a",
                                      "0190a2f0x0001-7002-8003-00000000ff04",
                                      "0190a2f0-0001-7002-8003-00000000ff0g"};
    hob_db_params out;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const hob_text list[] = {hob_text_of(bad[i])};
        const hob_param params[] = {hob_uuid(list[0]), hob_uuids(list, 1)};
        for (int j = 0; j < 2; j++)
            assert_int_equal(hob__db_encode(arena, &params[j], 1, &out), HOB_OUTCOME_BAD_TEXT);
    }
}

static void none_of_a_type_is_null_of_it(void **state) {
    (void)state;
    const hob_param params[] = {hob_uuid((hob_text){0}), hob_bytea((hob_text){0})};
    hob_db_params out;
    assert_int_equal(hob__db_encode(arena, params, 2, &out), HOB_OUTCOME_GOOD);
    for (int i = 0; i < 2; i++)
        assert_null(out.values[i]);
    assert_int_equal(out.types[0], 2950);
    assert_int_equal(out.types[1], 17);
}

static void bounds_are_kept(void **state) {
    (void)state;
    hob_db_params out;
    const hob_param huge = hob_ints((const int64_t *)"", SIZE_MAX / 4);
    assert_int_equal(hob__db_encode(arena, NULL, 0, &out), HOB_OUTCOME_GOOD);
    assert_int_equal(out.count, 0);
    assert_int_equal(hob__db_encode(arena, &huge, HOB_DB_PARAMS + 1, &out), HOB_OUTCOME_FAILED);
    assert_int_equal(hob__db_encode(arena, &huge, 1, &out), HOB_OUTCOME_NO_MEMORY);
    static char text[2 << 20];
    memset(text, 'x', sizeof text);
    const hob_text texts[] = {{text, sizeof text}};
    const hob_param large[] = {hob_str(texts[0]), hob_texts(texts, 1)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hob__db_encode(arena, &large[i], 1, &out), HOB_OUTCOME_NO_MEMORY);
        hob__arena_reset(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_become_binary, setup, teardown),
        cmocka_unit_test_setup_teardown(text_stays_text_of_a_type_the_server_infers, setup, teardown),
        cmocka_unit_test_setup_teardown(text_that_the_database_cannot_hold_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_uuid_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(none_of_a_type_is_null_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_are_kept, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
