#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../http/fixture.h"
#include "middleware/real_ip.h"

static int handler(hob_ctx *c) {
    return hob_no_content(c);
}

typedef struct hop {
    const char *trusted, *peer, *forwarded[3]; /* one a header */
    const char *client;
} hop;

static void check(const hop *hop) {
    fixture f;
    char *variables[6];
    size_t count = 0;
    variables[count++] = strdup("REQUEST_METHOD=GET");
    if (hop->peer)
        assert_true(asprintf(&variables[count++], "REMOTE_ADDR=%s", hop->peer) > 0);
    for (size_t i = 0; i < 3 && hop->forwarded[i]; i++)
        assert_true(asprintf(&variables[count++], "HTTP_X_FORWARDED_FOR=%s", hop->forwarded[i]) > 0);
    variables[count] = NULL;
    fixture_begin(&f, variables);
    f.config.trusted_proxies = hop->trusted;
    assert_int_equal(hob_real_ip(&f.ctx, &(hob_chain){.rest = (hob_middleware *const[]){NULL}, .handler = handler}),
                     204);
    hob_text wanted = hob_text_of(hop->client);
    if (!hob_text_equal(f.request.client, wanted))
        fail_msg("trusted %s, peer %s, forwarded %s: '" HOB_FMT "', not '%s'", hop->trusted, hop->peer,
                 hop->forwarded[0], HOB_ARG(f.request.client), hop->client);
    fixture_end(&f);
    while (count > 0)
        free(variables[--count]);
}

#define CHECK_ALL(hops)                                                                                                \
    for (size_t i = 0; i < sizeof(hops) / sizeof *(hops); i++)                                                         \
    check(&(hops)[i])

static void nobody_is_believed_unless_trusted(void **state) {
    static const hop hops[] = {
        {NULL, "192.0.2.1", {"203.0.113.9"}, "192.0.2.1"},
        {"", "192.0.2.1", {"203.0.113.9"}, "192.0.2.1"},
        {"10.0.0.0/8", "192.0.2.1", {"203.0.113.9"}, "192.0.2.1"},
        {"10.0.0.0/8", "9.255.255.255", {"203.0.113.9"}, "9.255.255.255"},
        {"10.0.0.0/8", "11.0.0.0", {"203.0.113.9"}, "11.0.0.0"},
        {"10.0.0.0/8", "", {"203.0.113.9"}, ""},
        {"10.0.0.0/8", "unix:", {"203.0.113.9"}, "unix:"},
        {"10.0.0.0/8", "garbage", {"203.0.113.9"}, "garbage"},
        {"not a list", "10.0.0.1", {"203.0.113.9"}, "10.0.0.1"},
        {"10.0.0.0/8,", "10.0.0.1", {"203.0.113.9"}, "10.0.0.1"},
    };
    (void)state;
    CHECK_ALL(hops);
}

static void a_trusted_peer_is_believed(void **state) {
    static const hop hops[] = {
        {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
        {"10.0.0.1", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
        {"10.0.0.1", "10.0.0.2", {"203.0.113.9"}, "10.0.0.2"},
        {"192.0.2.128/25", "192.0.2.200", {"203.0.113.9"}, "203.0.113.9"},
        {"192.0.2.128/25", "192.0.2.127", {"203.0.113.9"}, "192.0.2.127"},
        {"192.0.2.4/31", "192.0.2.5", {"203.0.113.9"}, "203.0.113.9"},
        {"0.0.0.0/0", "198.51.100.1", {"2001:db8::9"}, "2001:db8::9"},
        {" 10.0.0.0/8 ,\t2001:db8::/32 ", "2001:db8:ffff::1", {"203.0.113.9"}, "203.0.113.9"},
        {"2001:db8::/33", "2001:db8:8000::1", {"203.0.113.9"}, "2001:db8:8000::1"},
        {"10.0.0.0/8", "10.0.0.1", {NULL}, "10.0.0.1"},
        {"unix:", "", {"203.0.113.9"}, "203.0.113.9"},
        {"unix:", "unix:", {"203.0.113.9"}, "203.0.113.9"},
        {"unix:", NULL, {"203.0.113.9"}, "203.0.113.9"},
        {"unix:", "10.0.0.1", {"203.0.113.9"}, "10.0.0.1"},
    };
    (void)state;
    CHECK_ALL(hops);
}

static void the_rightmost_untrusted_hop_is_the_client(void **state) {
    static const hop hops[] = {
        {"10.0.0.0/8", "10.0.0.1", {"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"1.1.1.1, 203.0.113.9, 10.0.0.7"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"1.1.1.1,203.0.113.9,10.0.0.7,10.0.0.8"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},      /* all ours: the first of them asked */
        {"10.0.0.0/8", "10.0.0.1", {"garbage, 203.0.113.9"}, "203.0.113.9"}, /* its own word, not looked at */
        {"10.0.0.0/8,unix:", "unix:", {"203.0.113.9, unix:"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9, unix:"}, "unix:"},
    };
    (void)state;
    CHECK_ALL(hops);
}

static void all_headers_of_the_name_count(void **state) {
    static const hop hops[] = {
        {"10.0.0.0/8", "10.0.0.1", {"1.1.1.1", "203.0.113.9"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"1.1.1.1", "203.0.113.9, 10.0.0.2", "10.0.0.3"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9", "x"}, "10.0.0.1"},
    };
    (void)state;
    CHECK_ALL(hops);
}

static void garbage_is_not_believed(void **state) {
    static const char *const garbage[] = {
        "",
        " ",
        ",",
        "unknown",
        "_hidden",
        "203.0.113",
        "203.0.113.9.1",
        "203.0.113.256",
        "[::1",
        "[]",
        "[::1]x",
        "203.0.113.9 x",
        "203.0.113.9,",
        "0x7f.1.1.1",
        "fe80::1%eth0",
        "\"203.0.113.9\"",
        "2130706433",
        ":8080",
        "::g",
        "203.0.113.9, , 10.0.0.2",
        "x, 10.0.0.2",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc",
    };
    (void)state;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
        check(&(hop){"10.0.0.0/8", "10.0.0.1", {garbage[i]}, "10.0.0.1"});
}

static void addresses_come_in_many_spellings(void **state) {
    static const hop hops[] = {
        {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9:4711"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"[2001:db8::9]:4711"}, "2001:db8::9"},
        {"10.0.0.0/8", "10.0.0.1", {"[2001:DB8:0::9]"}, "2001:db8::9"},
        {"10.0.0.0/8", "10.0.0.1", {"::ffff:203.0.113.9"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"[::ffff:203.0.113.9]:1"}, "203.0.113.9"},
        {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9"},
        {"10.0.0.0/8", "::ffff:10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
        {"::ffff:10.0.0.0/104", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
        {"::ffff:10.0.0.1", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
        {"::/0", "10.0.0.1", {"203.0.113.9"}, "10.0.0.1"},
        {"0.0.0.0/0", "2001:db8::1", {"203.0.113.9"}, "2001:db8::1"},
    };
    (void)state;
    CHECK_ALL(hops);
}

static void the_list_is_checked(void **state) {
    static const char *const good[] = {
        NULL,
        "",
        "10.0.0.1",
        "10.0.0.0/8",
        "10.1.2.3/8",
        "0.0.0.0/0",
        "::1",
        "::/0",
        "2001:db8::/32, unix:",
        "unix:",
        "::ffff:10.0.0.0/96",
    };
    static const struct {
        const char *list;
        size_t at;
    } bad[] = {
        {"x", 0},           {"10.0.0.1,x", 9},   {"10.0.0.1, 10.0.0.0/33", 10}, {"::/129", 0},      {"10.0.0.0/", 0},
        {"10.0.0.0/-1", 0}, {"10.0.0.0/+8", 0},  {"10.0.0.0/8/8", 0},           {"10.0.0.0/ 8", 0}, {"/8", 0},
        {"10.0.0.1,", 9},   {",10.0.0.1", 0},    {"10.0.0.1,,::1", 9},          {"unix:/8", 0},     {"unix", 0},
        {"localhost", 0},   {"10.0.0.1 ::1", 0}, {"::ffff:10.0.0.0/95", 0},     {"10.0.0", 0},      {" ", 0},
        {"[::1]", 0},
    };
    const char *at;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!hob__trusted_proxies_good(good[i], &at))
            fail_msg("'%s' at '%s'", good[i], at);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (hob__trusted_proxies_good(bad[i].list, &at))
            fail_msg("'%s' was accepted", bad[i].list);
        if (at != bad[i].list + bad[i].at)
            fail_msg("'%s' is bad at '%s'", bad[i].list, at);
    }
}

static void the_list_is_bounded(void **state) {
    char list[HOB_TRUSTED_PROXIES_MAX * 3 + 4];
    const char *at;
    (void)state;
    for (size_t i = 0; i <= HOB_TRUSTED_PROXIES_MAX; i++)
        memcpy(list + 3 * i, "::,", 4);
    list[3 * (HOB_TRUSTED_PROXIES_MAX + 1) - 1] = '\0';
    assert_false(hob__trusted_proxies_good(list, &at));
    assert_ptr_equal(at, list + 3 * HOB_TRUSTED_PROXIES_MAX);
    list[3 * HOB_TRUSTED_PROXIES_MAX - 1] = '\0';
    assert_true(hob__trusted_proxies_good(list, &at));
    char large[8000];
    memset(large, ' ', sizeof large);
    memcpy(large + sizeof large - 4, "::1", 4);
    assert_false(hob__trusted_proxies_good(large, &at));
}

static void without_memory_no_address_is_told(void **state) {
    fixture f;
    (void)state;
    fixture_begin(&f, (char *[]){"REMOTE_ADDR=10.0.0.1", "HTTP_X_FORWARDED_FOR=203.0.113.9", NULL});
    f.config.trusted_proxies = "10.0.0.0/8";
    hob__arena_fail(f.arena);
    (void)hob_real_ip(&f.ctx, &(hob_chain){.rest = (hob_middleware *const[]){NULL}, .handler = handler});
    assert_null(f.request.client.data);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_believed_unless_trusted),
        cmocka_unit_test(a_trusted_peer_is_believed),
        cmocka_unit_test(the_rightmost_untrusted_hop_is_the_client),
        cmocka_unit_test(all_headers_of_the_name_count),
        cmocka_unit_test(garbage_is_not_believed),
        cmocka_unit_test(addresses_come_in_many_spellings),
        cmocka_unit_test(the_list_is_checked),
        cmocka_unit_test(the_list_is_bounded),
        cmocka_unit_test(without_memory_no_address_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
