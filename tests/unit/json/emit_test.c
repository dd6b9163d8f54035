/* What is appended is what json-c writes, whatever the length and wherever the special bytes are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "json/emit.h"

#define LONGEST 70 /* several times what is copied at once */

static struct printbuf *out;

static int setup(void **state) {
    (void)state;
    out = printbuf_new();
    return out ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    printbuf_free(out);
    return 0;
}

static void assert_as_json_c(json_object *value) {
    size_t size;
    const char *wanted = json_object_to_json_string_length(value, JSON_C_TO_STRING_NOSLASHESCAPE, &size);
    assert_int_equal(out->bpos, size);
    assert_memory_equal(out->buf, wanted, size);
    json_object_put(value);
    printbuf_reset(out);
}

static void check_string(const char *bytes, size_t size) {
    char *exact = malloc(size + 1); /* ends where the text ends, so that reading on is seen */
    assert_non_null(exact);
    memcpy(exact + 1, bytes, size);
    assert_true(hob__put_string(out, (hob_text){exact + 1, size}));
    assert_as_json_c(json_object_new_string_len(bytes, (int)size));
    free(exact);
}

static void strings_of_every_length(void **state) {
    static const char special[] = {'"', '\\', '\n', '\0', '\x1f', '/', '\x7f', '\xc3'};
    char bytes[LONGEST];
    (void)state;
    for (size_t size = 0; size <= LONGEST; size++) {
        memset(bytes, 'a', sizeof bytes);
        check_string(bytes, size);
        for (size_t at = 0; at < size; at++) {
            bytes[at] = special[(size + at) % sizeof special];
            check_string(bytes, size);
            bytes[at] = 'a';
        }
    }
}

static void strings_of_any_bytes(void **state) {
    char bytes[LONGEST];
    (void)state;
    srandom(1);
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)random() % sizeof bytes;
        for (size_t at = 0; at < size; at++)
            bytes[at] = (char)(random() % 8 ? 'a' + random() % 26 : random());
        check_string(bytes, size);
    }
}

static void check_int(int64_t value) {
    assert_true(hob__put_int(out, value));
    assert_as_json_c(json_object_new_int64(value));
}

static void integers_of_every_length(void **state) {
    (void)state;
    check_int(0);
    check_int(INT64_MIN);
    check_int(INT64_MAX);
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10)
        for (int64_t value = 10 * power - 2; value <= 10 * power + 1; value++) {
            check_int(value);
            check_int(-value);
        }
}

static void a_long_text_grows_the_buffer(void **state) {
    size_t size = 100000;
    char *bytes = malloc(size);
    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'a', size);
    bytes[size / 2] = '"';
    check_string(bytes, size);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(strings_of_every_length, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_of_any_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(integers_of_every_length, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_text_grows_the_buffer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
