#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>

#include "front/records.h"

#define CAPACITY 1024

/* ---- What a web server sends ---- */

typedef struct bytes {
    uint8_t at[600 * 1024];
    size_t size;
} bytes;

static bytes sent, passed, expected, replied;

static void clear(bytes *b) {
    b->size = 0;
}

static void put(bytes *b, const void *data, size_t size) {
    assert_true(b->size + size <= sizeof(b->at));
    if (size > 0)
        memcpy(b->at + b->size, data, size);
    b->size += size;
}

static void put_padded(bytes *b, uint8_t type, uint16_t id, const void *content, size_t size, uint8_t padding) {
    const uint8_t header[] = {1, type, id >> 8, id & 0xff, (uint8_t)(size >> 8), size & 0xff, padding, 0};
    put(b, header, sizeof(header));
    put(b, content, size);
    const uint8_t zeros[255] = {0};
    put(b, zeros, padding);
}

static void put_record(bytes *b, uint8_t type, uint16_t id, const void *content, size_t size) {
    put_padded(b, type, id, content, size, 0);
}

static void put_begin(bytes *b, uint16_t id) {
    const uint8_t body[8] = {0, FCGI_RESPONDER, FCGI_KEEP_CONN};
    put_record(b, FCGI_BEGIN_REQUEST, id, body, sizeof(body));
}

static size_t pair(uint8_t *out, const char *name, const char *value) {
    size_t n = strlen(name), v = strlen(value);
    out[0] = (uint8_t)n;
    out[1] = (uint8_t)v;
    memcpy(out + 2, name, n);
    memcpy(out + 2 + n, value, v);
    return 2 + n + v;
}

static void put_params(bytes *b, uint16_t id, const char *name, const char *value) {
    uint8_t content[600];
    put_record(b, FCGI_PARAMS, id, content, pair(content, name, value));
}

static void put_request(bytes *b, uint16_t id, const char *body) {
    put_begin(b, id);
    put_params(b, id, "REQUEST_METHOD", "POST");
    put_record(b, FCGI_PARAMS, id, NULL, 0);
    if (*body != '\0')
        put_padded(b, FCGI_STDIN, id, body, strlen(body), 3);
    put_record(b, FCGI_STDIN, id, NULL, 0);
}

/* ---- Filtering ---- */

static hob_records records;

/* One call of the filter, as one read would bring it. */
static bool feed(const uint8_t *data, size_t size) {
    hob_records_out out = {.bytes = malloc(size + HOB_RECORD_HEADER)};
    uint8_t *in = malloc(size); /* exactly as large, so that a sanitizer sees an overrun */
    assert_non_null(in);
    memcpy(in, data, size);
    bool good = hob__records_filter(&records, in, size, &out);
    assert_true(good == (records.fault == NULL));
    if (good) {
        put(&passed, out.bytes, out.size);
        put(&replied, out.reply, out.reply_size);
    }
    free(in);
    free(out.bytes);
    return good;
}

/* All that was sent, in pieces. */
static bool feed_in(size_t piece) {
    for (size_t at = 0; at < sent.size; at += piece) {
        size_t left = sent.size - at;
        if (!feed(sent.at + at, left < piece ? left : piece))
            return false;
    }
    return true;
}

static int start(void **state) {
    (void)state;
    hob__records_init(&records, CAPACITY);
    clear(&sent);
    clear(&passed);
    clear(&expected);
    clear(&replied);
    return 0;
}

static void assert_same(const bytes *got, const bytes *want) {
    assert_int_equal(got->size, want->size);
    assert_memory_equal(got->at, want->at, want->size);
}

/* Whatever the pieces, the same comes out. */
static void assert_filtered(void) {
    static const size_t pieces[] = {1, 2, 3, 5, 7, 8, 9, 13, 64, 8184, sizeof(sent.at)};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        hob__records_init(&records, CAPACITY);
        clear(&passed);
        clear(&replied);
        assert_true(feed_in(pieces[i]));
        assert_same(&passed, &expected);
    }
}

static void assert_refused(const char *fault) {
    static const size_t pieces[] = {1, 7, sizeof(sent.at)};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        hob__records_init(&records, CAPACITY);
        assert_false(feed_in(pieces[i]));
        assert_string_equal(records.fault, fault);
        assert_false(hob__records_drained(&records));
    }
}

/* ---- Requests ---- */

static void request_passes_unchanged(void **state) {
    (void)state;
    put_request(&sent, 1, "hello");
    expected = sent;
    assert_filtered();
    assert_true(hob__records_drained(&records));
    assert_int_equal(replied.size, 0);
}

static void requests_follow_each_other(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        clear(&sent);
        clear(&passed);
        put_request(&sent, (uint16_t)(1 + i % 2), i == 1 ? "" : "body");
        assert_true(hob__records_idle(&records));
        assert_true(feed_in(sent.size));
        assert_same(&passed, &sent);
        assert_true(hob__records_drained(&records));
        assert_false(hob__records_idle(&records));
        hob__records_next(&records);
    }
    assert_true(hob__records_idle(&records));
}

static void padding_of_the_last_record_may_come_late(void **state) {
    (void)state;
    put_request(&sent, 1, "");
    sent.at[sent.size - 2] = 5; /* padding length of the empty FCGI_STDIN */
    assert_true(feed_in(sent.size));
    assert_true(hob__records_drained(&records));
    hob__records_next(&records);
    clear(&passed);
    clear(&sent);
    put(&sent, "\0\0\0\0\0", 5);
    assert_true(feed_in(2));
    assert_int_equal(passed.size, 0);
    assert_true(hob__records_idle(&records));
    clear(&sent);
    put_request(&sent, 1, "x");
    assert_true(feed_in(sent.size));
    assert_same(&passed, &sent);
}

static void padding_of_the_last_record_is_not_trailing(void **state) {
    (void)state;
    put_request(&sent, 1, "");
    sent.at[sent.size - 2] = 5;
    put(&sent, "\0\0\0\0\0", 5);
    assert_true(feed_in(sent.size));
    assert_true(hob__records_drained(&records));
}

static void bytes_behind_the_end_are_held_against_the_connection(void **state) {
    (void)state;
    put_request(&sent, 1, "");
    expected = sent;
    put(&sent, "\1", 1);
    assert_true(feed_in(sent.size));
    assert_same(&passed, &expected);
    assert_true(records.trailing);
    assert_false(hob__records_drained(&records));
}

static void not_drained_before_the_end_of_stdin(void **state) {
    (void)state;
    put_request(&sent, 1, "body");
    for (size_t at = 0; at < sent.size; at++) {
        assert_false(hob__records_drained(&records));
        assert_true(feed(sent.at + at, 1));
        assert_false(hob__records_idle(&records));
    }
    assert_true(hob__records_drained(&records));
}

static void abort_ends_the_request(void **state) {
    (void)state;
    for (int with_stdin = 0; with_stdin < 2; with_stdin++) {
        start(NULL);
        put_begin(&sent, 1);
        if (with_stdin) {
            put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
            put_record(&sent, FCGI_STDIN, 1, "half", 4);
        }
        put_record(&sent, FCGI_ABORT_REQUEST, 1, NULL, 0);
        expected = sent;
        assert_filtered();
        assert_true(records.aborted);
        assert_true(hob__records_drained(&records));
        hob__records_next(&records);
        assert_false(records.aborted);
    }
}

static void what_belongs_to_no_request_is_dropped(void **state) {
    (void)state;
    put_record(&sent, FCGI_ABORT_REQUEST, 1, NULL, 0);
    put_padded(&sent, FCGI_STDIN, 1, "late", 4, 4);
    put_record(&sent, FCGI_STDIN, 1, NULL, 0);
    assert_filtered();
    assert_true(hob__records_idle(&records));
}

/* libfcgi refuses the second request itself, but an empty record of it would make it skip one of the first. */
static void other_request_is_dropped_but_for_its_begin(void **state) {
    (void)state;
    const uint8_t begin[8] = {0, FCGI_RESPONDER};
    put_begin(&sent, 1);
    put_begin(&expected, 1);
    put_record(&sent, FCGI_BEGIN_REQUEST, 2, begin, 8);
    put_record(&expected, FCGI_BEGIN_REQUEST, 2, begin, 8);
    put_params(&sent, 2, "REQUEST_METHOD", "DELETE");
    put_record(&sent, FCGI_PARAMS, 2, NULL, 0);
    put_padded(&sent, FCGI_STDIN, 2, NULL, 0, 7);
    put_record(&sent, FCGI_ABORT_REQUEST, 2, NULL, 0);
    put_params(&sent, 1, "A", "b");
    put_params(&expected, 1, "A", "b");
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    put_record(&expected, FCGI_PARAMS, 1, NULL, 0);
    put_record(&sent, FCGI_STDIN, 1, NULL, 0);
    put_record(&expected, FCGI_STDIN, 1, NULL, 0);
    assert_filtered();
    assert_false(records.aborted);
}

static void random_splits_change_nothing(void **state) {
    (void)state;
    put_begin(&sent, 1);
    for (int i = 0; i < 40; i++)
        put_params(&sent, 1, "HTTP_X_HEADER", "a value that is somewhat longer");
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    for (int i = 0; i < 5; i++)
        put_padded(&sent, FCGI_STDIN, 1, "0123456789", 10, 6);
    put_record(&sent, FCGI_STDIN, 1, NULL, 0);
    srand(1);
    for (int round = 0; round < 500; round++) {
        hob__records_init(&records, CAPACITY);
        clear(&passed);
        for (size_t at = 0, n; at < sent.size; at += n) {
            n = 1 + (size_t)rand() % 60;
            n = n < sent.size - at ? n : sent.size - at;
            assert_true(feed(sent.at + at, n));
        }
        assert_same(&passed, &sent);
    }
}

/* ---- Management records ---- */

static void put_values(bytes *b, const char *const *names, size_t count) {
    uint8_t content[HOB_GET_VALUES_MAX];
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pair(content + size, names[i], "");
    put_record(b, FCGI_GET_VALUES, 0, content, size);
}

static void get_values_is_answered(void **state) {
    (void)state;
    static const char *const names[] = {FCGI_MPXS_CONNS, "FCGI_SOMETHING", FCGI_MAX_REQS, FCGI_MAX_CONNS,
                                        FCGI_MAX_REQS};
    uint8_t content[200];
    size_t size = pair(content, FCGI_MAX_CONNS, "1024");
    size += pair(content + size, FCGI_MAX_REQS, "1024");
    size += pair(content + size, FCGI_MPXS_CONNS, "0");
    put_values(&sent, names, 5);
    assert_filtered(); /* and nothing of it passes */
    put_record(&expected, FCGI_GET_VALUES_RESULT, 0, content, size);
    assert_same(&replied, &expected);
    assert_true(hob__records_idle(&records));
}

static void get_values_of_nothing_known_is_answered_empty(void **state) {
    (void)state;
    static const char *const names[] = {"", "FCGI_MAX_CONN", "FCGI_MAX_CONNSS", "FCGI_MAX_CONNS_AND_MUCH_MORE_OF_IT"};
    for (size_t count = 0; count <= 4; count += 4) {
        start(NULL);
        put_values(&sent, names, count);
        assert_true(feed_in(3));
        put_record(&expected, FCGI_GET_VALUES_RESULT, 0, NULL, 0);
        assert_same(&replied, &expected);
    }
}

/* Thirty names overflow libfcgi's stack. */
static void get_values_may_repeat_names(void **state) {
    (void)state;
    const char *names[30];
    for (size_t i = 0; i < 30; i++)
        names[i] = FCGI_MAX_CONNS;
    put_values(&sent, names, 30);
    assert_filtered();
    assert_int_equal(replied.size, HOB_RECORD_HEADER + 2 + strlen(FCGI_MAX_CONNS) + 4);
}

static void get_values_passes_by_a_request(void **state) {
    (void)state;
    static const char *const names[] = {FCGI_MAX_REQS};
    uint8_t content[64];
    size_t size = pair(content, "REQUEST_METHOD", "GET");
    put_begin(&sent, 1);
    put_record(&sent, FCGI_PARAMS, 1, content, 5); /* the pair is split over two records */
    put_values(&sent, names, 1);
    put_record(&sent, FCGI_PARAMS, 1, content + 5, size - 5);
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    put_begin(&expected, 1);
    put_record(&expected, FCGI_PARAMS, 1, content, 5);
    put_record(&expected, FCGI_PARAMS, 1, content + 5, size - 5);
    put_record(&expected, FCGI_PARAMS, 1, NULL, 0);
    assert_filtered();
    assert_true(replied.size > HOB_RECORD_HEADER);
}

static void unknown_management_record_is_answered(void **state) {
    (void)state;
    put_padded(&sent, 77, 0, "content", 7, 1);
    assert_filtered();
    const uint8_t body[8] = {77};
    put_record(&expected, FCGI_UNKNOWN_TYPE, 0, body, 8);
    assert_same(&replied, &expected);
    assert_true(hob__records_idle(&records));
}

/* ---- Refusals ---- */

static void put_raw(const char *data, size_t size) {
    put(&sent, data, size);
}

static void refuses_what_is_not_fastcgi(void **state) {
    (void)state;
    put_raw("GET / HTTP/1.1\r\n", 16);
    assert_refused("this is not FastCGI version 1");
}

static void refuses_bad_begins(void **state) {
    (void)state;
    put_record(&sent, FCGI_BEGIN_REQUEST, 1, "seven b", 7);
    assert_refused("FCGI_BEGIN_REQUEST has a wrong length");
    clear(&sent);
    put_begin(&sent, 1);
    put_begin(&sent, 1);
    assert_refused("FCGI_BEGIN_REQUEST came twice");
}

static void refuses_records_out_of_order(void **state) {
    (void)state;
    put_begin(&sent, 1);
    put_record(&sent, FCGI_STDIN, 1, NULL, 0);
    assert_refused("FCGI_STDIN came before the end of FCGI_PARAMS");
    clear(&sent);
    put_begin(&sent, 1);
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    put_params(&sent, 1, "A", "b");
    assert_refused("FCGI_PARAMS came behind their end");
    clear(&sent);
    put_begin(&sent, 1);
    put_record(&sent, FCGI_DATA, 1, NULL, 0);
    assert_refused("a record of this type has no place in a request");
    clear(&sent);
    put_begin(&sent, 1);
    put_record(&sent, FCGI_ABORT_REQUEST, 1, "why", 3);
    assert_refused("FCGI_ABORT_REQUEST has content");
}

static void refuses_broken_pairs(void **state) {
    (void)state;
    static const struct {
        const char *content;
        size_t size;
        const char *fault;
    } cases[] = {
        {"\1", 1, "FCGI_PARAMS end within a pair"},
        {"\1\1", 2, "FCGI_PARAMS end within a pair"},
        {"\1\1A", 3, "FCGI_PARAMS end within a pair"},
        {"\x80\0\0", 3, "FCGI_PARAMS end within a pair"},
        {"\x7f\xff", 2, "FCGI_PARAMS end within a pair"},
        {"\xff\xff\xff\xfe\xff\xff\xff\xfe", 8, "a parameter is too long"},
        {"\xff\xff\xff\xff\1", 5, "a parameter is too long"},
        {"\1\x80\4\0\1A", 6, "a parameter is too long"}, /* 256 KiB and one byte */
        {"\3\1A\0Bx", 6, "a parameter contains NUL"},
        {"\1\3Ax\0y", 6, "a parameter contains NUL"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        clear(&sent);
        put_begin(&sent, 1);
        put_record(&sent, FCGI_PARAMS, 1, cases[i].content, cases[i].size);
        put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
        assert_refused(cases[i].fault);
    }
}

static void long_lengths_pass(void **state) {
    (void)state;
    static uint8_t content[60000];
    memset(content, 'v', sizeof(content));
    memcpy(content, "\x80\0\0\1\x80\0\xea\x57N", 9); /* a name of 1 and a value of 59991, both with long lengths */
    put_begin(&sent, 1);
    put_record(&sent, FCGI_PARAMS, 1, content, sizeof(content));
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    expected = sent;
    assert_filtered();
}

static void empty_names_and_values_pass(void **state) {
    (void)state;
    put_begin(&sent, 1);
    put_record(&sent, FCGI_PARAMS, 1, "\0\0\1\0A\0\1b", 8);
    put_record(&sent, FCGI_PARAMS, 1, NULL, 0);
    expected = sent;
    assert_filtered();
}

static void refuses_too_many_or_too_large_parameters(void **state) {
    (void)state;
    put_begin(&sent, 1);
    for (int i = 0; i <= HOB_PARAMS_COUNT_MAX; i++)
        put_params(&sent, 1, "A", "b");
    assert_refused("too many parameters");
    clear(&sent);
    put_begin(&sent, 1);
    char value[128];
    memset(value, 'v', 127);
    value[127] = '\0';
    uint8_t content[40000];
    size_t size = 0;
    while (size + 200 < sizeof(content))
        size += pair(content + size, "A", value);
    for (size_t total = 0; total <= HOB_PARAMS_SIZE_MAX; total += size)
        put_record(&sent, FCGI_PARAMS, 1, content, size);
    hob__records_init(&records, CAPACITY);
    assert_false(feed_in(8184));
    assert_non_null(strstr(records.fault, "parameters"));
}

static void refuses_floods_of_management_records(void **state) {
    (void)state;
    static uint8_t content[HOB_GET_VALUES_MAX + 1];
    put_record(&sent, FCGI_GET_VALUES, 0, content, sizeof(content));
    assert_refused("a management record is too long");
    clear(&sent);
    put_record(&sent, FCGI_GET_VALUES, 0, "\x10\1short", 7);
    assert_refused("FCGI_GET_VALUES ends within a pair");
    clear(&sent);
    for (int i = 0; i < 100; i++)
        put_record(&sent, 77, 0, NULL, 0);
    hob__records_init(&records, CAPACITY);
    assert_false(feed_in(sent.size));
    assert_string_equal(records.fault, "too many management records");
}

static void a_fault_is_final(void **state) {
    (void)state;
    put_raw("\2", 1);
    put_raw("1234567", 7);
    assert_false(feed_in(sent.size));
    clear(&sent);
    put_request(&sent, 1, "");
    assert_false(feed_in(sent.size));
    assert_int_equal(passed.size, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(request_passes_unchanged),
        TEST(requests_follow_each_other),
        TEST(padding_of_the_last_record_may_come_late),
        TEST(padding_of_the_last_record_is_not_trailing),
        TEST(bytes_behind_the_end_are_held_against_the_connection),
        TEST(not_drained_before_the_end_of_stdin),
        TEST(abort_ends_the_request),
        TEST(what_belongs_to_no_request_is_dropped),
        TEST(other_request_is_dropped_but_for_its_begin),
        TEST(random_splits_change_nothing),
        TEST(get_values_is_answered),
        TEST(get_values_of_nothing_known_is_answered_empty),
        TEST(get_values_may_repeat_names),
        TEST(get_values_passes_by_a_request),
        TEST(unknown_management_record_is_answered),
        TEST(refuses_what_is_not_fastcgi),
        TEST(refuses_bad_begins),
        TEST(refuses_records_out_of_order),
        TEST(refuses_broken_pairs),
        TEST(long_lengths_pass),
        TEST(empty_names_and_values_pass),
        TEST(refuses_too_many_or_too_large_parameters),
        TEST(refuses_floods_of_management_records),
        TEST(a_fault_is_final),
    };
    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
