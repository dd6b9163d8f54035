#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "front/body.h"

#define MAX 100000

/* A body of `size` bytes, each the low byte of its place. */
typedef struct generated {
    hob_body_source source;
    size_t size, at;
} generated;

static size_t generate(hob_body_source *source, char *buffer, size_t size) {
    generated *body = (generated *)source;
    size_t left = body->size - body->at, n = size < left ? size : left;
    for (size_t i = 0; i < n; i++)
        buffer[i] = (char)(body->at + i);
    body->at += n;
    return n;
}

typedef struct outcome {
    hob_request_fault fault;
    bool whole;
    size_t kept, read;
} outcome;

static outcome read_with(size_t size, int64_t declared, size_t max, size_t memory, hob_request_fault before) {
    hob_arena *arena = hob__arena_new(memory);
    assert_non_null(arena);
    generated body = {.source = {generate}, .size = size};
    hob_request request = {.content_length = declared, .fault = before};
    outcome outcome = {.whole = hob__body_read(&body.source, arena, max, &request)};
    outcome.fault = request.fault;
    outcome.kept = request.body.size;
    outcome.read = body.at;
    for (size_t i = 0; i < request.body.size; i++)
        assert_int_equal((unsigned char)request.body.data[i], i & 0xff);
    hob__arena_free(arena);
    return outcome;
}

static void reads_to_the_end_under_its_limits(void **state) {
    (void)state;
    static const struct {
        size_t size;
        int64_t declared;
        hob_request_fault fault;
    } cases[] = {
        {0, 0, HOB_REQUEST_GOOD},
        {0, -1, HOB_REQUEST_GOOD},
        {1, 1, HOB_REQUEST_GOOD},
        {1, -1, HOB_REQUEST_GOOD},
        {8192, -1, HOB_REQUEST_GOOD},
        {8193, -1, HOB_REQUEST_GOOD},
        {20000, 20000, HOB_REQUEST_GOOD},
        {MAX, MAX, HOB_REQUEST_GOOD},
        {MAX, -1, HOB_REQUEST_GOOD},
        {1, 0, HOB_REQUEST_WRONG_LENGTH},
        {0, 1, HOB_REQUEST_WRONG_LENGTH},
        {99, 100, HOB_REQUEST_WRONG_LENGTH},
        {101, 100, HOB_REQUEST_WRONG_LENGTH},
        {MAX + 1, MAX, HOB_REQUEST_WRONG_LENGTH},
        {5, MAX + 1, HOB_REQUEST_TOO_LARGE},
        {MAX + 1, MAX + 1, HOB_REQUEST_TOO_LARGE},
        {MAX + 1, -1, HOB_REQUEST_TOO_LARGE},
        {0, INT64_MAX, HOB_REQUEST_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        outcome got = read_with(cases[i].size, cases[i].declared, MAX, 1 << 20, HOB_REQUEST_GOOD);
        assert_int_equal(got.fault, cases[i].fault);
        assert_true(got.whole);
        assert_int_equal(got.read, cases[i].size);
        if (got.fault == HOB_REQUEST_GOOD)
            assert_int_equal(got.kept, cases[i].size);
    }
}

static void a_limit_of_nothing_takes_nothing(void **state) {
    (void)state;
    assert_int_equal(read_with(0, -1, 0, 1 << 20, HOB_REQUEST_GOOD).fault, HOB_REQUEST_GOOD);
    assert_int_equal(read_with(1, -1, 0, 1 << 20, HOB_REQUEST_GOOD).fault, HOB_REQUEST_TOO_LARGE);
    assert_int_equal(read_with(1, 1, 0, 1 << 20, HOB_REQUEST_GOOD).fault, HOB_REQUEST_TOO_LARGE);
}

static void a_faulty_request_keeps_its_fault_and_is_drained(void **state) {
    (void)state;
    outcome got = read_with(5000, 5000, MAX, 1 << 20, HOB_REQUEST_BAD_PATH);
    assert_int_equal(got.fault, HOB_REQUEST_BAD_PATH);
    assert_int_equal(got.read, 5000);
    assert_int_equal(got.kept, 0);
}

static void a_flood_is_not_drained_for_ever(void **state) {
    (void)state;
    outcome got = read_with((size_t)1 << 30, -1, MAX, 1 << 20, HOB_REQUEST_GOOD);
    assert_int_equal(got.fault, HOB_REQUEST_TOO_LARGE);
    assert_false(got.whole);
    assert_true(got.read < 20 * MAX);
}

static void memory_that_runs_out_is_a_fault(void **state) {
    (void)state;
    outcome got = read_with(90000, 90000, MAX, 65536, HOB_REQUEST_GOOD);
    assert_int_equal(got.fault, HOB_REQUEST_NO_MEMORY);
    assert_true(got.whole);
    assert_int_equal(got.kept, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_to_the_end_under_its_limits),
        cmocka_unit_test(a_limit_of_nothing_takes_nothing),
        cmocka_unit_test(a_faulty_request_keeps_its_fault_and_is_drained),
        cmocka_unit_test(a_flood_is_not_drained_for_ever),
        cmocka_unit_test(memory_that_runs_out_is_a_fault),
    };
    return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
