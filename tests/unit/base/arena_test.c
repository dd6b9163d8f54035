#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ASAN 1
#endif

#ifdef ASAN
#include <sanitizer/asan_interface.h>

size_t __sanitizer_get_current_allocated_bytes(void); /* its header comes with clang only */

/* One test asks for more than there is. */
__attribute__((visibility("default"))) const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
#endif

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MIB ((size_t)1024 * 1024)

static size_t heap_bytes(void) {
#ifdef ASAN
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
}

static int set_up(void **state) {
    *state = hob__arena_new(MIB);
    return *state == NULL;
}

static int tear_down(void **state) {
    hob__arena_free(*state);
    return 0;
}

static void *must_alloc(hob_arena *arena, size_t size) {
    void *block = hob__arena_alloc(arena, size);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 16, 0);
    return block;
}

static void test_alloc(void **state) {
    char *blocks[200];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = must_alloc(*state, i);
        memset(blocks[i], (int)i, i);
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        for (size_t k = 0; k < i; k++)
            assert_int_equal((unsigned char)blocks[i][k], i);
        assert_true(i == 0 || blocks[i] != blocks[i - 1]); /* of no size, yet distinct */
    }
    assert_false(hob__arena_failed(*state));
}

static void test_used(void **state) {
    assert_int_equal(hob__arena_used(*state), 0);
    (void)must_alloc(*state, 1000);
    size_t used = hob__arena_used(*state);
    assert_in_range(used, 1000, 1100);
    (void)must_alloc(*state, 100000);
    assert_in_range(hob__arena_used(*state), used + 100000, used + 100100);
    hob__arena_reset(*state);
    assert_int_equal(hob__arena_used(*state), 0);
}

static void test_maximum(void **state) {
    size_t got = 0, before = heap_bytes();
    while (hob__arena_alloc(*state, 1000))
        got += 1000;
    assert_in_range(got, MIB * 8 / 10, MIB);
    assert_true(heap_bytes() - before <= MIB + MIB / 64); /* malloc's own heads */
    assert_true(hob__arena_failed(*state));
    assert_null(hob__arena_alloc(*state, 1)); /* nothing follows a failure */
    hob__arena_reset(*state);
    assert_false(hob__arena_failed(*state));
    (void)must_alloc(*state, 1000);
}

static void test_maximum_at_once(void **state) {
    static const size_t too_large[] = {MIB, MIB + 1, SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < COUNT(too_large); i++) {
        assert_null(hob__arena_alloc(*state, too_large[i]));
        assert_true(hob__arena_failed(*state));
        hob__arena_reset(*state);
    }
    memset(must_alloc(*state, MIB - 100), 1, MIB - 100);
}

static void test_no_maximum(void **state) {
    (void)state;
    hob_arena *arena = hob__arena_new(SIZE_MAX);
    assert_non_null(arena);
    volatile size_t sizes[] = {SIZE_MAX, SIZE_MAX - 16, PTRDIFF_MAX, PTRDIFF_MAX / 2};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_null(hob__arena_alloc(arena, sizes[i]));
        hob__arena_reset(arena);
    }
    (void)must_alloc(arena, 10);
    hob__arena_free(arena);
}

static void test_tiny_maximum(void **state) {
    (void)state;
    hob_arena *arena = hob__arena_new(256);
    assert_non_null(arena);
    memset(must_alloc(arena, 100), 1, 100);
    assert_null(hob__arena_alloc(arena, 200));
    hob__arena_free(arena);
}

static void test_fail(void **state) {
    hob__arena_fail(*state);
    assert_true(hob__arena_failed(*state));
    assert_null(hob__arena_alloc(*state, 1));
    assert_null(hob__arena_calloc(*state, 1, 1));
    assert_null(hob__arena_grow(*state, NULL, 0, 1));
    assert_null(hob__arena_copy(*state, HOB_TEXT("a")).data);
    assert_null(hob__arena_format(*state, "%d", 1).data);
}

static void test_zeroed(void **state) {
    memset(must_alloc(*state, 3000), 0xff, 3000);
    hob__arena_reset(*state);
    const char *block = hob__arena_calloc(*state, 3, 1000);
    assert_non_null(block);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(block[i], 0);
    assert_non_null(hob__arena_calloc(*state, 0, 8));
    volatile size_t half = SIZE_MAX / 2 + 2;
    assert_null(hob__arena_calloc(*state, half, 2));
    assert_true(hob__arena_failed(*state));
}

static void test_grow(void **state) {
    char *newest = hob__arena_grow(*state, NULL, 0, 10);
    assert_non_null(newest);
    memcpy(newest, "0123456789", 10);
    assert_ptr_equal(hob__arena_grow(*state, newest, 10, 500), newest);
    newest[499] = 'x';
    assert_ptr_equal(hob__arena_grow(*state, newest, 500, 10), newest);

    (void)must_alloc(*state, 1);
    char *moved = hob__arena_grow(*state, newest, 500, 600);
    assert_ptr_not_equal(moved, newest);
    assert_memory_equal(moved, "0123456789", 10);
    assert_int_equal(moved[499], 'x');

    char *larger = hob__arena_grow(*state, moved, 600, 100000); /* out of its chunk */
    assert_non_null(larger);
    assert_memory_equal(larger, "0123456789", 10);
    memset(larger, 'y', 100000);
    assert_null(hob__arena_grow(*state, larger, 100000, MIB));
    assert_null(hob__arena_grow(*state, larger, 100000, SIZE_MAX));
    assert_int_equal(larger[99999], 'y'); /* the old one stays good */
}

/* As much by growing as by allocating, whatever stands between. */
static void test_random_work(void **state) {
    struct {
        unsigned char *at;
        size_t size;
        unsigned char mark;
    } blocks[64];
    srand(7);
    for (int round = 0; round < 50; round++) {
        memset(blocks, 0, sizeof blocks);
        for (int step = 0; step < 200; step++) {
            size_t i = (size_t)rand() % COUNT(blocks),
                   size = blocks[i].size + (size_t)rand() % (rand() % 8 ? 50 : 5000);
            unsigned char *block = hob__arena_grow(*state, blocks[i].at, blocks[i].size, size);
            assert_non_null(block);
            blocks[i].mark = (unsigned char)(i + 1);
            memset(block + blocks[i].size, blocks[i].mark, size - blocks[i].size);
            blocks[i].at = block;
            blocks[i].size = size;
        }
        for (size_t i = 0; i < COUNT(blocks); i++)
            for (size_t k = 0; k < blocks[i].size; k++)
                assert_int_equal(blocks[i].at[k], blocks[i].mark);
        hob__arena_reset(*state);
    }
}

static void request_of(hob_arena *arena, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 500)
        (void)must_alloc(arena, 500);
}

static void test_steady_state(void **state) {
    static const size_t sizes[] = {500, 4000, 10000, 40000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (int settle = 0; settle < 2; settle++) { /* several chunks, then one of their size */
            request_of(*state, sizes[i]);
            hob__arena_reset(*state);
        }
        size_t before = heap_bytes();
        for (int round = 0; round < 3; round++) {
            request_of(*state, sizes[i]);
            assert_int_equal(heap_bytes(),
                             before); /* the arena gives nothing back before its reset: nothing was taken */
            hob__arena_reset(*state);
            assert_int_equal(heap_bytes(), before);
        }
    }
}

static void test_retained(void **state) {
    size_t before = heap_bytes();
    static const size_t sizes[] = {600000, 100000, 10000, 300000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        request_of(*state, sizes[i]);
        hob__arena_reset(*state);
        assert_true(heap_bytes() <= before + HOB_ARENA_RETAINED + 64);
        (void)must_alloc(*state, sizes[i]);
        hob__arena_reset(*state);
        assert_true(heap_bytes() <= before + HOB_ARENA_RETAINED + 64);
    }
}

static char order[16]; /* the letters of what has run */

static void note(void *arg) {
    size_t size = strlen(order);
    assert_true(size + 1 < sizeof order);
    order[size] = *(const char *)arg;
    order[size + 1] = '\0';
}

static void note_and_defer(void *arg) {
    note("d");
    assert_true(hob__arena_defer(arg, note, "e"));
}

static void test_defer(void **state) {
    order[0] = '\0';
    assert_true(hob__arena_defer(*state, note, "a"));
    assert_true(hob__arena_defer(*state, note_and_defer, *state));
    assert_true(hob__arena_defer(*state, note, "b"));
    assert_string_equal(order, "");
    hob__arena_reset(*state);
    assert_string_equal(order, "bdea");
    hob__arena_reset(*state);
    assert_string_equal(order, "bdea"); /* once */
}

static void test_defer_at_free(void **state) {
    (void)state;
    hob_arena *arena = hob__arena_new(MIB);
    assert_non_null(arena);
    order[0] = '\0';
    char *letter = must_alloc(arena, 2);
    memcpy(letter, "z", 2);
    assert_true(hob__arena_defer(arena, note, letter)); /* the memory is still there when it runs */
    hob__arena_free(arena);
    assert_string_equal(order, "z");
    hob__arena_free(NULL);
}

static void test_defer_without_memory(void **state) {
    order[0] = '\0';
    assert_true(hob__arena_defer(*state, note, "a"));
    hob__arena_fail(*state);
    assert_false(hob__arena_defer(*state, note, "b"));
    assert_string_equal(order, "b");
    hob__arena_reset(*state);
    assert_string_equal(order, "ba");
}

static void test_copy(void **state) {
    hob_text copy = hob__arena_copy(*state, HOB_TEXT("a\0b"));
    assert_int_equal(copy.size, 3);
    assert_memory_equal(copy.data, "a\0b", 4);
    copy = hob__arena_copy(*state, HOB_TEXT(""));
    assert_int_equal(copy.size, 0);
    assert_string_equal(copy.data, "");
    assert_null(hob__arena_copy(*state, (hob_text){NULL, 0}).data);
    assert_false(hob__arena_failed(*state));
    hob_text huge = hob__arena_copy(*state, (hob_text){"x", MIB}); /* refused before a byte is read */
    assert_null(huge.data);
    assert_int_equal(huge.size, 0);
}

static void test_format(void **state) {
    static const int widths[] = {0, 1, 254, 255, 256, 257, 5000};
    for (size_t i = 0; i < COUNT(widths); i++) {
        hob_text text = hob__arena_format(*state, "%*s", widths[i], "");
        assert_int_equal(text.size, widths[i]);
        assert_int_equal(strlen(text.data), widths[i]);
    }
    hob_text name = HOB_TEXT("Ada");
    assert_string_equal(hob__arena_format(*state, "%d " HOB_FMT " %s", 7, HOB_ARG(name), "x").data, "7 Ada x");
    assert_null(hob__arena_format(*state, "%*s", (int)(2 * MIB), "").data);
    assert_true(hob__arena_failed(*state));
}

#ifdef ASAN
static void test_poison(void **state) {
    char *first = must_alloc(*state, 10), *second = must_alloc(*state, 32), *third = must_alloc(*state, 1);
    assert_null(__asan_region_is_poisoned(first, 10));
    assert_null(__asan_region_is_poisoned(second, 32));
    assert_true(__asan_address_is_poisoned(first + 10));
    for (int i = 1; i <= 16; i++) {
        assert_true(__asan_address_is_poisoned(second - i));
        assert_true(__asan_address_is_poisoned(second + 31 + i));
        assert_true(__asan_address_is_poisoned(third + i));
    }
    assert_ptr_equal(hob__arena_grow(*state, third, 1, 20), third);
    assert_null(__asan_region_is_poisoned(third, 20));
    assert_true(__asan_address_is_poisoned(third + 20));
    hob__arena_reset(*state);
    assert_true(__asan_address_is_poisoned(first));
    assert_true(__asan_address_is_poisoned(third + 19));
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_alloc),
        TEST(test_used),
        TEST(test_maximum),
        TEST(test_maximum_at_once),
        TEST(test_no_maximum),
        TEST(test_tiny_maximum),
        TEST(test_fail),
        TEST(test_zeroed),
        TEST(test_grow),
        TEST(test_random_work),
        TEST(test_steady_state),
        TEST(test_retained),
        TEST(test_defer),
        TEST(test_defer_at_free),
        TEST(test_defer_without_memory),
        TEST(test_copy),
        TEST(test_format),
#ifdef ASAN
        TEST(test_poison),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
