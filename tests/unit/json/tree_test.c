/* Trees written and owned. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json/rows.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef SANITIZED
/* json-c's buffers grow by realloc; the one that this counts down to fails. */
static int reallocs_left = -1, reallocs_seen;

__attribute__((visibility("default"))) void *realloc(void *old, size_t size) {
    static void *(*real)(void *, size_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "realloc");
    reallocs_seen++;
    if (reallocs_left == 0) {
        errno = ENOMEM;
        return NULL;
    }
    if (reallocs_left > 0)
        reallocs_left--;
    return real(old, size);
}
#endif

static hob_arena *arena;

static int setup(void **state) {
    (void)state;
    arena = hob__arena_new((size_t)8 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

static void assert_text(json_object *tree, const char *wanted) {
    hob_text text = hob__json_text(arena, tree);
    assert_non_null(text.data);
    assert_string_equal(text.data, wanted);
    assert_int_equal(text.size, strlen(wanted));
}

static void plain(void **state) {
    (void)state;
    static const char *const texts[] = {
        "null", "17", "\"\"", "[]", "{}", "{\"a\":[1,2.5,true,null,{\"b\":\"/ \\\" \\\\ \\n \\u0001 \xC3\xA9\"}]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_object *tree = json_tokener_parse(texts[i]);
        assert_text(tree, texts[i]);
        assert_text(tree, texts[i]);
        json_object_put(tree);
    }
}

static void earlier_texts_stay(void **state) {
    (void)state;
    json_object *one = hob__json_own(arena, json_object_new_string("one")),
                *two = hob__json_own(arena, json_object_new_int(2));
    hob_text first = hob__json_text(arena, one), second = hob__json_text(arena, two);
    assert_string_equal(first.data, "\"one\"");
    assert_string_equal(second.data, "2");
}

static void large_and_small(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    char *letters = malloc(SIZE);
    assert_non_null(letters);
    memset(letters, 'x', SIZE);
    json_object *large = hob__json_own(arena, json_object_new_string_len(letters, SIZE));
    free(letters);
    for (int i = 0; i < 3; i++) {
        hob_text text = hob__json_text(arena, large);
        assert_int_equal(text.size, SIZE + 2);
        assert_int_equal(text.data[SIZE + 1], '"');
        assert_text(NULL, "null");
    }
}

static void freed(struct json_object *tree, void *userdata) {
    (void)tree;
    ++*(int *)userdata;
}

static json_object *counted(int *count) {
    json_object *tree = json_object_new_object();
    assert_non_null(tree);
    json_object_set_userdata(tree, count, freed);
    return tree;
}

static void owned_until_the_reset(void **state) {
    (void)state;
    int count = 0;
    json_object *tree = counted(&count);
    assert_ptr_equal(hob__json_own(arena, tree), tree);
    assert_null(hob__json_own(arena, NULL));
    assert_text(tree, "{}");
    assert_int_equal(count, 0);
    hob__arena_reset(arena);
    assert_int_equal(count, 1);

    hob_arena *none = hob__arena_new(0);
    assert_non_null(none);
    assert_null(hob__json_own(none, counted(&count)));
    assert_int_equal(count, 2);
    assert_true(hob__arena_failed(none));
    hob__arena_free(none);
}

static void the_arena_is_too_small(void **state) {
    (void)state;
    hob_arena *small = hob__arena_new(4096);
    json_object *tree = json_object_new_array();
    assert_non_null(small);
    for (int i = 0; i < 5000; i++)
        json_object_array_add(tree, json_object_new_int(i));
    assert_null(hob__json_text(small, tree).data);
    assert_true(hob__arena_failed(small));
    json_object_put(tree);
    hob__arena_free(small);
}

static int refuse(struct json_object *tree, struct printbuf *out, int level, int flags) {
    (void)tree;
    (void)out;
    (void)level;
    (void)flags;
    return -1;
}

static void a_serializer_fails(void **state) {
    (void)state;
    json_object *tree = json_object_new_object(), *bad = json_object_new_object();
    json_object_set_serializer(bad, refuse, NULL, NULL);
    json_object_object_add(tree, "bad", bad);
    assert_null(hob__json_text(arena, tree).data);
    assert_true(hob__arena_failed(arena));
    json_object_put(tree);
    hob__arena_reset(arena);
    assert_text(NULL, "null");
}

#ifndef SANITIZED
/* json-c goes on behind a buffer that did not grow; a text with a gap must not get out. */
static void a_buffer_cannot_grow(void **state) {
    (void)state;
    json_object *tree = json_object_new_array();
    char *letters = calloc(1, 70001);
    assert_non_null(letters);
    memset(letters, 'x', 70000);
    /* So long that no buffer is kept afterwards, and each has to grow again. */
    json_object_array_add(tree, json_object_new_string(letters));
    json_object_array_add(tree, json_object_new_string("\n\n\n"));
    free(letters);
    hob_text whole = hob__json_text(arena, tree);
    assert_non_null(whole.data);
    if (reallocs_seen == 0) { /* valgrind puts its own in the place of ours */
        json_object_put(tree);
        skip();
    }
    int failures = 0;
    for (int nth = 0; nth < 10; nth++) {
        hob_arena *other = hob__arena_new((size_t)8 << 20);
        assert_non_null(other);
        reallocs_left = nth;
        hob_text text = hob__json_text(other, tree);
        reallocs_left = -1;
        assert_int_equal(text.data == NULL, hob__arena_failed(other));
        if (text.data)
            assert_true(text.size == whole.size && memcmp(text.data, whole.data, text.size) == 0);
        failures += !text.data;
        hob__arena_free(other);
    }
    assert_in_range(failures, 1, 9);
    json_object_put(tree);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain, setup, teardown),
        cmocka_unit_test_setup_teardown(earlier_texts_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(large_and_small, setup, teardown),
        cmocka_unit_test_setup_teardown(owned_until_the_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(the_arena_is_too_small, setup, teardown),
        cmocka_unit_test_setup_teardown(a_serializer_fails, setup, teardown),
#ifndef SANITIZED
        cmocka_unit_test_setup_teardown(a_buffer_cannot_grow, setup, teardown),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
