#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/cache_private.h"

static const hob_text KEY = {"app:user:1", 10};

/* A copy of exactly its size, so that reading beyond it is found. */
static hob_text write_entry(hob_cache_kind kind, uint64_t id, hob_text key, hob_text payload) {
    hob_cache_entry entry = {.kind = kind, .id = id, .payload = payload};
    hob_text stored = {.size = hob__cache_value_size(&entry, key)};
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
        {HOB_CACHE_ABSENCE, 11, HOB_TEXT("no user 1")},
        {HOB_CACHE_GENERATION, 12, {0}},
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
    static const char expected[] = "hob\x17\x02\x01\x02\0\x88\x77\x66\x55\x44\x33\x22\x11\x03\0\0\0\x01\0\0\0"
                                   "\xff\xdb\xc3\x1b\x05\x95\xb0\x39"
                                   "k1\xff\x01\0\0\0\0\0\0abc";
    hob_cache_entry entry = {
        .kind = HOB_CACHE_VALUE, .id = 0x1122334455667788, .id_count = 1, .ids = {0x1ff}, .payload = HOB_TEXT("abc")};
    char stored[64];
    assert_int_equal(hob__cache_value_size(&entry, HOB_TEXT("k1")), sizeof expected - 1);
    hob__cache_value_write(stored, &entry, HOB_TEXT("k1"));
    assert_memory_equal(stored, expected, sizeof expected - 1);
}

static void ids_of_entries(void **state) {
    (void)state;
    hob_cache_entry entry = {.kind = HOB_CACHE_TOMBSTONE, .id = 3, .id_count = HOB_CACHE_IDS_MAX}, got;
    char stored[HOB_CACHE_HEADER + 16 + sizeof entry.ids];
    for (size_t i = 0; i < HOB_CACHE_IDS_MAX; i++)
        entry.ids[i] = UINT64_MAX - i;
    hob_text whole = {stored, hob__cache_value_size(&entry, KEY)};
    hob__cache_value_write(stored, &entry, KEY);
    assert_true(hob__cache_value_read(whole, KEY, &got));
    assert_int_equal(got.id_count, HOB_CACHE_IDS_MAX);
    assert_memory_equal(got.ids, entry.ids, sizeof entry.ids);
    assert_int_equal(got.payload.size, 0);
}

static void generations_grow_with_the_clock(void **state) {
    (void)state;
    uint64_t before = hob__cache_new_generation();
    struct timespec pause = {.tv_nsec = 3000000};
    nanosleep(&pause, NULL);
    uint64_t behind = hob__cache_new_generation();
    assert_true(behind > before);
    assert_in_range(behind >> 20, UINT64_C(1750000000000), UINT64_C(1) << 43); /* ms */
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

/* Of the same length: the checksum finds it. */
static void any_changed_bit_is_foreign(void **state) {
    (void)state;
    hob_text stored = write_entry(HOB_CACHE_VALUE, 1, KEY, HOB_TEXT("a payload of some length, and odd"));
    char *bytes = (char *)stored.data;
    hob_cache_entry entry;
    for (size_t i = 0; i < stored.size * 8; i++) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        assert_false(hob__cache_value_read(stored, KEY, &entry));
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    assert_true(hob__cache_value_read(stored, KEY, &entry));
    char first = bytes[40]; /* words that have changed places */
    memmove(bytes + 40, bytes + 48, 8);
    bytes[48] = first;
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
    const hob_text junk[] = {
        {0},
        HOB_TEXT(""),
        HOB_TEXT("{\"id\":1}"),
        HOB_TEXT("hob\x17"),
        HOB_TEXT("hob\x17\x01\x01\x0a\0\x01\0\0\0\0\0\0\0\0\0\0\0app:user:1"), /* the format before this one */
        HOB_TEXT(
            "hob\x17\x02\x06\x0a\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0app:user:1"), /* no such kind */
        HOB_TEXT("hob\x17\x02\x01\x0a\0\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0"
                 "app:user:1"),
        HOB_TEXT("hob\x17\x02\x01\x0a\0\x01\0\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0\0\0\0\0"
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

static void a_write_is_over_when_none_takes_so_long(void **state) {
    (void)state;
    const uint64_t second = UINT64_C(1) << 32;
    uint64_t id = hob__cache_new_write_id();
    assert_int_not_equal(id, hob__cache_new_write_id());
    assert_false(hob__cache_write_over(id, 5));
    assert_false(hob__cache_write_over(id - 3 * second, 5));
    assert_true(hob__cache_write_over(id - 6 * second, 5));
    assert_false(hob__cache_write_over(id + 3 * second, 5)); /* another clock */
    assert_true(hob__cache_write_over(id + 8 * second, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(layout_is_fixed),
        cmocka_unit_test(every_truncation_is_foreign),
        cmocka_unit_test(any_changed_bit_is_foreign),
        cmocka_unit_test(ids_of_entries),
        cmocka_unit_test(generations_grow_with_the_clock),
        cmocka_unit_test(other_keys_are_foreign),
        cmocka_unit_test(junk_is_foreign),
        cmocka_unit_test(ids_differ_and_are_never_zero),
        cmocka_unit_test(a_write_is_over_when_none_takes_so_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
