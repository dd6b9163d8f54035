#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "data/cache_private.h"

static const hob_text KEY = {"app:user:1", 10};

/* A copy of exactly its size, so that reading beyond it is found. */
static hob_text write_entry(hob_cache_kind kind, uint64_t id, hob_text key, hob_text payload) {
    hob_cache_entry entry = {.kind = kind, .id = id, .payload = payload};
    hob_text stored = {.size = hob__cache_value_size(key, payload)};
    char *bytes = malloc(stored.size);
    assert_non_null(bytes);
    hob__cache_value_write(bytes, &entry, key);
    stored.data = bytes;
    return stored;
}

static void round_trip(void **state) {
    (void)state;
    const struct {
        hob_cache_kind kind;
        uint64_t id;
        hob_text payload;
    } cases[] = {
        {HOB_CACHE_VALUE, 1, HOB_TEXT("{\"id\":1}")},
        {HOB_CACHE_VALUE, UINT64_MAX, HOB_TEXT("with\0NUL and \r\nEND\r\n")},
        {HOB_CACHE_VALUE, 0x0123456789abcdef, HOB_TEXT("")},
        {HOB_CACHE_PLACEHOLDER, 7, {0}},
        {HOB_CACHE_TOMBSTONE, 9, {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_text stored = write_entry(cases[i].kind, cases[i].id, KEY, cases[i].payload);
        hob_cache_entry entry;
        assert_true(hob__cache_value_read(stored, KEY, &entry));
        assert_int_equal(entry.kind, cases[i].kind);
        assert_true(entry.id == cases[i].id);
        assert_int_equal(entry.payload.size, cases[i].payload.size);
        assert_non_null(entry.payload.data);
        assert_true(hob_text_equal(
            entry.payload, (hob_text){cases[i].payload.size ? cases[i].payload.data : "", cases[i].payload.size}));
        free((char *)stored.data);
    }
}

/* What is on the servers must stay readable by workers of another machine and of the next release. */
static void layout_is_fixed(void **state) {
    (void)state;
    static const char expected[] = "hob\x17\x01\x01\x02\0\x88\x77\x66\x55\x44\x33\x22\x11\x03\0\0\0k1abc";
    hob_text stored = write_entry(HOB_CACHE_VALUE, 0x1122334455667788, HOB_TEXT("k1"), HOB_TEXT("abc"));
    assert_int_equal(stored.size, sizeof expected - 1);
    assert_memory_equal(stored.data, expected, stored.size);
    free((char *)stored.data);
}

static void every_truncation_is_foreign(void **state) {
    (void)state;
    hob_text stored = write_entry(HOB_CACHE_VALUE, 5, KEY, HOB_TEXT("payload"));
    hob_cache_entry entry;
    for (size_t size = 0; size < stored.size; size++) {
        char *cut = malloc(size ? size : 1);
        assert_non_null(cut);
        memcpy(cut, stored.data, size);
        assert_false(hob__cache_value_read((hob_text){cut, size}, KEY, &entry));
        free(cut);
    }
    free((char *)stored.data);
}

static void damage_to_the_header_is_foreign(void **state) {
    (void)state;
    hob_text stored = write_entry(HOB_CACHE_VALUE, 1, KEY, HOB_TEXT("payload"));
    char *bytes = (char *)stored.data;
    hob_cache_entry entry;
    for (size_t i = 0; i < HOB_CACHE_HEADER + KEY.size; i++) {
        if (i >= 8 && i < 16)
            continue; /* the id: any but 0 is good */
        bytes[i] ^= 0x40;
        assert_false(hob__cache_value_read(stored, KEY, &entry));
        bytes[i] ^= 0x40;
    }
    assert_true(hob__cache_value_read(stored, KEY, &entry));
    bytes[8] = 0; /* the id is 0 now */
    assert_false(hob__cache_value_read(stored, KEY, &entry));
    free(bytes);
}

static void other_keys_are_foreign(void **state) {
    (void)state;
    const hob_text keys[] = {HOB_TEXT("app:user:2"), HOB_TEXT("app:user:"), HOB_TEXT("app:user:10"), HOB_TEXT("")};
    hob_text stored = write_entry(HOB_CACHE_VALUE, 1, KEY, HOB_TEXT("0payload"));
    hob_cache_entry entry;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_false(hob__cache_value_read(stored, keys[i], &entry));
    free((char *)stored.data);
}

static void junk_is_foreign(void **state) {
    (void)state;
    const hob_text junk[] = {{0},
                             HOB_TEXT(""),
                             HOB_TEXT("{\"id\":1}"),
                             HOB_TEXT("hob\x17"),
                             HOB_TEXT("hob\x17\x02\x01\x0a\0\x01\0\0\0\0\0\0\0\0\0\0\0app:user:1"), /* another format */
                             HOB_TEXT("hob\x17\x01\x04\x0a\0\x01\0\0\0\0\0\0\0\0\0\0\0app:user:1"), /* no such kind */
                             HOB_TEXT("hob\x17\x01\x01\x0a\0\x01\0\0\0\0\0\0\0\xff\xff\xff\xff"
                                      "app:user:1")};
    hob_cache_entry entry;
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
        assert_false(hob__cache_value_read(junk[i], KEY, &entry));
}

static void ids_differ_and_are_never_zero(void **state) {
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t id = hob__cache_new_id();
        assert_true(id != 0 && id != last);
        last = id;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(layout_is_fixed),
        cmocka_unit_test(every_truncation_is_foreign),
        cmocka_unit_test(damage_to_the_header_is_foreign),
        cmocka_unit_test(other_keys_are_foreign),
        cmocka_unit_test(junk_is_foreign),
        cmocka_unit_test(ids_differ_and_are_never_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
