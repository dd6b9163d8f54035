#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cache_private.h"

static void good_lists(void **state) {
    (void)state;
    const struct {
        const char *text, *host, *address; /* of the last server; address "": to be resolved */
        size_t count;
        uint16_t port;
        uint32_t weight;
    } cases[] = {
        {"127.0.0.1:11211", "127.0.0.1", "127.0.0.1", 1, 11211, 1},
        {"10.0.0.1", "10.0.0.1", "10.0.0.1", 1, 11211, 1},
        {"10.0.0.1:1,10.0.0.1:65535*40", "10.0.0.1", "10.0.0.1", 2, 65535, 40},
        {"[::1]:12000*2", "::1", "::1", 1, 12000, 2},
        {"[2001:db8::1]", "2001:db8::1", "2001:db8::1", 1, 11211, 1},
        {"/run/memcached.sock", "/run/memcached.sock", "/run/memcached.sock", 1, 0, 1},
        {"/run/a:b.sock*3", "/run/a:b.sock", "/run/a:b.sock", 1, 0, 3},
        {"cache.internal:11212", "cache.internal", "", 1, 11212, 1},
        {"a:1, b:2 , c:3 * 4 ", "c", "", 3, 3, 4},
        {"1.2.3:5", "1.2.3", "", 1, 5, 1}, /* no dotted quad: a name */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_cache_server *list;
        size_t count;
        char error[256] = "";
        if (!hob__cache_servers_parse(cases[i].text, &list, &count, error))
            fail_msg("%s: %s", cases[i].text, error);
        assert_int_equal(count, cases[i].count);
        const hob_cache_server *last = &list[count - 1];
        assert_string_equal(last->host, cases[i].host);
        assert_string_equal(last->address, cases[i].address);
        assert_int_equal(last->port, cases[i].port);
        assert_int_equal(last->weight, cases[i].weight);
        assert_int_equal(last->named, cases[i].address[0] == '\0');
        assert_int_equal(last->generation, cases[i].address[0] != '\0');
        free(list);
    }
}

static void bad_lists(void **state) {
    (void)state;
    char long_path[140], long_name[300], many[33 * 8 + 1] = "";
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    for (int i = 0; i < 33; i++)
        snprintf(many + strlen(many), 8, "h%d,", i);
    const char *cases[] = {
        "",        ",",           "a,",      ",a",    "a,,b",      "a:",      "a:0",     "a:65536",
        "a:-1",    "a:1x",        ":11211",  "::1",   "::1:11211", "[::1",    "[]",      "[::1]11211",
        "[::1]:",  "a*0",         "a*41",    "a*",    "a*x",       "*2",      "a*1*1",   "a b:1",
        "a\x01:1", "caf\xc3\xa9", "a:1,a:1", "/s,/s", "a,a:11211", long_path, long_name, many,
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_cache_server *list;
        size_t count;
        char error[256] = "";
        if (hob__cache_servers_parse(cases[i], &list, &count, error))
            fail_msg("taken: '%s'", cases[i]);
        assert_ptr_equal(strstr(error, "HOB_CACHE: "), error);
        assert_null(strchr(error, '\n'));
        free(list);
    }
}

/* How many of 10,000 keys go to each server. */
static void deal(const char *text, size_t *shares) {
    hob_cache cache = {0};
    char error[256];
    assert_true(hob__cache_servers_parse(text, &cache.servers, &cache.server_count, error));
    cache.ring = cache.server_count > 1 ? hob__cache_ring_new(cache.servers, cache.server_count) : NULL;
    assert_true(cache.ring || cache.server_count == 1);
    memset(shares, 0, cache.server_count * sizeof *shares);
    for (int i = 0; i < 10000; i++) {
        char key[32];
        hob_text text_key = {key, (size_t)snprintf(key, sizeof key, "app:user:%d", i)};
        hob_cache_server *server = hob__cache_server_of(&cache, text_key);
        shares[server - cache.servers]++;
    }
    if (cache.ring)
        memcached_free(cache.ring);
    free(cache.servers);
}

static void the_ring_deals_by_weight(void **state) {
    (void)state;
    size_t shares[3];
    deal("a:1", shares);
    assert_int_equal(shares[0], 10000);
    deal("a:1,b:1", shares);
    assert_in_range(shares[0], 3500, 6500);
    deal("a:1*3,b:1,/run/c.sock", shares);
    assert_in_range(shares[0], 4500, 7500);
    assert_in_range(shares[1], 1000, 3500);
    assert_in_range(shares[2], 1000, 3500);
}

static void the_lightest_server_still_gets_keys(void **state) {
    (void)state;
    size_t shares[2];
    deal("a:1*40,b:1", shares);
    assert_true(shares[1] > 0);
}

/* The order in the list and other servers' coming and going must not move (many) keys. */
static void the_ring_is_consistent(void **state) {
    (void)state;
    hob_cache one = {0}, two = {0};
    char error[256];
    assert_true(hob__cache_servers_parse("a:1,b:1,c:1", &one.servers, &one.server_count, error));
    assert_true(hob__cache_servers_parse("c:1,b:1,a:1,d:1", &two.servers, &two.server_count, error));
    one.ring = hob__cache_ring_new(one.servers, one.server_count);
    two.ring = hob__cache_ring_new(two.servers, two.server_count);
    assert_non_null(one.ring);
    assert_non_null(two.ring);
    int moved = 0;
    for (int i = 0; i < 1000; i++) {
        char key[32];
        hob_text text_key = {key, (size_t)snprintf(key, sizeof key, "app:order:%d", i)};
        const char *to = hob__cache_server_of(&two, text_key)->host;
        if (strcmp(hob__cache_server_of(&one, text_key)->host, to) == 0)
            continue;
        moved++;
        assert_string_equal(to, "d");
    }
    assert_in_range(moved, 100, 450);
    memcached_free(one.ring);
    memcached_free(two.ring);
    free(one.servers);
    free(two.servers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lists),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(the_ring_deals_by_weight),
        cmocka_unit_test(the_lightest_server_still_gets_keys),
        cmocka_unit_test(the_ring_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
