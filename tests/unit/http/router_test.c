#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/router.h"

static hob_app *app;
static hob_match match;

static int begin(void **state) {
    (void)state;
    app = hob_new("test");
    return app ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    hob__router_free(app);
    return 0;
}

static int handler(hob_ctx *c) {
    (void)c;
    return 200;
}

static int pass_a(hob_ctx *c, const hob_chain *chain) {
    return hob_next(c, chain);
}

static int pass_b(hob_ctx *c, const hob_chain *chain) {
    return hob_next(c, chain) + 1;
}

static int pass_c(hob_ctx *c, const hob_chain *chain) {
    return hob_next(c, chain) + 2;
}

static const char *find(hob_http_method method, const char *path) {
    hob__router_match(hob__application(app), method, hob_text_of(path), &match);
    return match.route ? match.route->pattern : "none";
}

static void compile(void) {
    if (!hob__router_compile(app))
        fail_msg("%s", hob__application(app)->fault);
}

static void declare_all(const char *const *patterns) {
    for (; *patterns; patterns++)
        hob_get(app, *patterns, handler);
    compile();
}

static const char *const PATTERNS[] = {
    "/",
    "/users",
    "/users/",
    "/users/me",
    "/users/{id:int}",
    "/users/{uuid:uuid}",
    "/users/{name}",
    "/users/{rest...}",
    "/users/{id:int}/orders",
    "/users/{name}/orders/{order:int}",
    "/a/{x}/c",
    "/a/b/d",
    "/files/{path...}",
    "/caf\xc3\xa9",
    NULL,
};

static void finds_the_most_particular_pattern(void **state) {
    static const struct {
        const char *path, *pattern;
    } cases[] = {
        {"/", "/"},
        {"/users", "/users"},
        {"/users/", "/users/"},
        {"/users/me", "/users/me"},
        {"/users/1", "/users/{id:int}"},
        {"/users/9223372036854775807", "/users/{id:int}"},
        {"/users/9223372036854775808", "/users/{name}"},
        {"/users/0", "/users/{name}"},
        {"/users/-1", "/users/{name}"},
        {"/users/+1", "/users/{name}"},
        {"/users/01", "/users/{name}"},
        {"/users/1x", "/users/{name}"},
        {"/users/ 1", "/users/{name}"},
        {"/users/01890a5d-ac96-774b-bcce-b302099a8057", "/users/{uuid:uuid}"},
        {"/users/01890a5d-ac96-774b-bcce-b302099a805", "/users/{name}"},
        {"/users/a/b", "/users/{rest...}"},
        {"/users/me/x", "/users/{rest...}"},
        {"/users//", "/users/{rest...}"},
        {"/users/1/orders", "/users/{id:int}/orders"},
        {"/users/1/orders/", "/users/{rest...}"},
        {"/users/1/orders/2", "/users/{name}/orders/{order:int}"}, /* back from {id:int} */
        {"/users/me/orders", "/users/{rest...}"},
        {"/a/b/c", "/a/{x}/c"}, /* back from the literal b */
        {"/a/b/d", "/a/b/d"},
        {"/a//c", "none"},
        {"/a/b", "none"},
        {"/a/b/c/", "none"},
        {"/a", "none"},
        {"/files", "none"},
        {"/files/", "/files/{path...}"},
        {"/files/a//b/", "/files/{path...}"},
        {"/caf\xc3\xa9", "/caf\xc3\xa9"},
        {"//", "none"},
        {"//users", "none"},
        {"/Users", "none"},
        {"/user", "none"},
        {"/users2", "none"},
        {"", "none"},
        {"users", "none"},
        {NULL, "none"},
    };
    (void)state;
    declare_all(PATTERNS);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(find(HOB_GET, cases[i].path), cases[i].pattern) != 0)
            fail_msg("%s: %s", cases[i].path, find(HOB_GET, cases[i].path));
}

static void an_encoded_slash_separates_nothing(void **state) {
    (void)state;
    declare_all(PATTERNS);
    assert_string_equal(find(HOB_GET, "/users\377me"), "none");
    assert_string_equal(find(HOB_GET, "/users/1\377orders"), "/users/{name}");
    assert_string_equal(find(HOB_GET, "/a/b\377b/c"), "/a/{x}/c");
    assert_string_equal(find(HOB_GET, "\377users"), "none");
}

static void dot_segments_lead_nowhere(void **state) {
    static const char *const paths[] = {"/files/.",  "/files/..",      "/files/../a",    "/files/a/..",  "/./files/a",
                                        "/users/..", "/files/a\xff..", "/files/..\377a", "/files/\xff.", "/files/a/./b",
                                        "/.."};
    static const char *const good[] = {"/files/...", "/files/.a",  "/files/a.",
                                       "/files/..a", "/files/a..", "/files/a.b/c"};
    (void)state;
    declare_all(PATTERNS);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (strcmp(find(HOB_GET, paths[i]), "none") != 0)
            fail_msg("%s was found", paths[i]);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_string_equal(find(HOB_GET, good[i]), "/files/{path...}");
}

static void assert_param(size_t i, const char *name, const char *value, int64_t integer) {
    assert_string_equal(match.params[i].name, name);
    assert_int_equal(match.params[i].value.size, strlen(value));
    assert_memory_equal(match.params[i].value.data, value, strlen(value));
    assert_int_equal(match.params[i].integer, integer);
}

static void captures_parameters(void **state) {
    (void)state;
    declare_all(PATTERNS);
    find(HOB_GET, "/users/12/orders/34");
    assert_int_equal(match.param_count, 2);
    assert_param(0, "name", "12", 0);
    assert_param(1, "order", "34", 34);
    find(HOB_GET, "/users/7");
    assert_int_equal(match.param_count, 1);
    assert_param(0, "id", "7", 7);
    find(HOB_GET, "/files/");
    assert_param(0, "path", "", 0);
    find(HOB_GET, "/files/a//b/");
    assert_param(0, "path", "a//b/", 0);
    find(HOB_GET, "/users/1/orders/x/y");
    assert_int_equal(match.param_count, 1);
    assert_param(0, "rest", "1/orders/x/y", 0);
    find(HOB_GET, "/nowhere/1");
    assert_int_equal(match.param_count, 0);
}

static void methods_do_not_hide_each_other(void **state) {
    (void)state;
    hob_get(app, "/users/{id:int}", handler);
    hob_put(app, "/users/{user:int}", handler);
    hob_post(app, "/users/{name}", handler);
    hob_handle(app, "HEAD", "/own-head", handler);
    hob_handle(app, "OPTIONS", "/own-options", handler);
    compile();
    assert_string_equal(find(HOB_GET, "/users/1"), "/users/{id:int}");
    assert_param(0, "id", "1", 1);
    assert_string_equal(find(HOB_PUT, "/users/1"), "/users/{user:int}");
    assert_param(0, "user", "1", 1);
    assert_string_equal(find(HOB_POST, "/users/1"), "/users/{name}");
    assert_param(0, "name", "1", 0);
    assert_string_equal(find(HOB_HEAD, "/users/1"), "/users/{id:int}");
    assert_string_equal(find(HOB_HEAD, "/own-head"), "/own-head");
    assert_string_equal(find(HOB_GET, "/own-head"), "none");
    assert_string_equal(find(HOB_OPTIONS, "/own-options"), "/own-options");
}

static void tells_what_is_allowed(void **state) {
    char buffer[64];
    (void)state;
    hob_get(app, "/users/{id:int}", handler);
    hob_post(app, "/users/{name}", handler);
    hob_put(app, "/p", handler);
    compile();
    assert_string_equal(find(HOB_DELETE, "/users/1"), "none");
    assert_true(match.path_known);
    hob_text list = hob__allow_of(match.allowed, buffer, sizeof buffer);
    assert_true(hob_text_equal(list, HOB_TEXT("GET, HEAD, POST, OPTIONS")));
    find(HOB_METHOD_UNKNOWN, "/users/x");
    assert_true(match.path_known);
    assert_true(hob_text_equal(hob__allow_of(match.allowed, buffer, sizeof buffer), HOB_TEXT("POST, OPTIONS")));
    find(HOB_HEAD, "/p");
    assert_true(match.path_known);
    assert_null(match.route);
    find(HOB_GET, "/q");
    assert_false(match.path_known);
    assert_int_equal(match.allowed, 0);
    /* what does not fit is left out */
    assert_true(hob_text_equal(hob__allow_of(~0U, buffer, 8), HOB_TEXT("GET, PUT")));
    assert_int_equal(hob__allow_of(~0U, buffer, sizeof buffer).size, 44);
}

static void refuses(const char *method, const char *pattern, const char *why) {
    (void)begin(NULL);
    hob_get(app, "/good", handler);
    hob_handle(app, method, pattern, handler);
    assert_false(hob__router_compile(app));
    const char *fault = hob__application(app)->fault;
    if (!strstr(fault, why) || !strstr(fault, pattern))
        fail_msg("%s: %s", pattern, fault);
    (void)end(NULL);
}

static void wrong_patterns_are_refused(void **state) {
    (void)state;
    refuses("GET", "users", "begin with '/'");
    refuses("GET", "", "begin with '/'");
    refuses("FETCH", "/a", "no such method");
    refuses("get", "/a", "no such method");
    refuses("GET", "/a//b", "empty segment");
    refuses("GET", "//", "empty segment");
    refuses("GET", "/{", "whole segment");
    refuses("GET", "/}", "whole segment");
    refuses("GET", "/a{b}", "whole segment");
    refuses("GET", "/{a}b", "whole segment");
    refuses("GET", "/{}", "a parameter is");
    refuses("GET", "/{a b}", "a parameter is");
    refuses("GET", "/{1a}", "a parameter is");
    refuses("GET", "/{a{b}}", "a parameter is");
    refuses("GET", "/{...}", "a parameter is");
    refuses("GET", "/{:int}", "a parameter is");
    refuses("GET", "/{a:int...}", "a parameter is");
    refuses("GET", "/{a:}", "type is int or uuid");
    refuses("GET", "/{a:float}", "type is int or uuid");
    refuses("GET", "/{a...}/b", "last segment");
    refuses("GET", "/{a...}/", "last segment");
    refuses("GET", "/{a}/{a:int}", "same name");
    refuses("GET", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", "too many");
}

static void a_route_needs_a_handler(void **state) {
    (void)state;
    hob_get(app, "/a", NULL);
    assert_false(hob__router_compile(app));
    assert_non_null(strstr(hob__application(app)->fault, "no handler"));
}

static void conflicts_name_both(void **state) {
    static const struct {
        const char *one, *other;
    } cases[] = {{"/a", "/a"}, {"/{a:int}", "/{b:int}"}, {"/{a}/x", "/{b}/x"}, {"/{a...}", "/{b...}"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char wanted[128];
        (void)end(NULL);
        (void)begin(NULL);
        hob_get(app, cases[i].one, handler);
        hob_post(app, cases[i].other, handler);
        compile();
        hob_get(app, cases[i].other, handler);
        assert_false(hob__router_compile(app));
        snprintf(wanted, sizeof wanted, "GET %s conflicts with GET %s", cases[i].other, cases[i].one);
        assert_string_equal(hob__application(app)->fault, wanted);
    }
}

static void groups_add_prefixes_and_middlewares(void **state) {
    (void)state;
    hob_router *v1 = hob_route(app, "/v1"), *users = hob_route(v1, "/users/{id:int}"), *plain = hob_route(app, "");
    hob_get(users, "/orders", handler, pass_b);
    hob_get(users, "", handler);
    hob_get(plain, "/ping", handler);
    hob_use(users, pass_c);
    hob_use(v1, pass_b, pass_b);
    hob_use(app, pass_a); /* also for what was declared before */
    compile();
    assert_string_equal(find(HOB_GET, "/v1/users/1/orders"), "/v1/users/{id:int}/orders");
    hob_middleware *const wanted[] = {pass_a, pass_b, pass_b, pass_c, pass_b, NULL};
    assert_memory_equal(match.route->chain, wanted, sizeof wanted);
    assert_string_equal(find(HOB_GET, "/v1/users/1"), "/v1/users/{id:int}");
    hob_middleware *const shorter[] = {pass_a, pass_b, pass_b, pass_c, NULL};
    assert_memory_equal(match.route->chain, shorter, sizeof shorter);
    assert_string_equal(find(HOB_GET, "/ping"), "/ping");
    assert_ptr_equal(match.route->chain[0], pass_a);
    assert_null(match.route->chain[1]);
    assert_ptr_equal(hob__application(app)->outer[0], pass_a);
    assert_null(hob__application(app)->outer[1]);
}

static void what_is_declared_later_counts_after_the_next_compile(void **state) {
    (void)state;
    hob_get(app, "/a", handler);
    compile();
    compile();
    hob_get(app, "/b", handler);
    hob_use(app, pass_a);
    compile();
    assert_string_equal(find(HOB_GET, "/a"), "/a");
    assert_ptr_equal(match.route->chain[0], pass_a);
    assert_string_equal(find(HOB_GET, "/b"), "/b");
}

static void borrows_nothing_from_the_declaration(void **state) {
    (void)state;
    char method[] = "GET", pattern[] = "/a/{b}", prefix[] = "/p";
    hob_handle(hob_route(app, prefix), method, pattern, handler);
    memset(method, 'x', 3);
    memset(pattern, 'x', sizeof pattern - 1);
    memset(prefix, 'x', sizeof prefix - 1);
    compile();
    assert_string_equal(find(HOB_GET, "/p/a/1"), "/p/a/{b}");
    assert_string_equal(match.params[0].name, "b");
}

static void prints_routes_as_declared(void **state) {
    char *text = NULL;
    size_t size;
    (void)state;
    hob_router *v1 = hob_route(app, "/v1");
    hob_post(v1, "/b", handler);
    hob_get(app, "/a", handler);
    hob_get(v1, "/b", handler);
    FILE *out = open_memstream(&text, &size);
    hob__router_print(app, out);
    fclose(out);
    assert_string_equal(text, "POST /v1/b\nGET /a\nGET /v1/b\n");
    free(text);
}

static void everything_bears_an_app_that_could_not_be_made(void **state) {
    (void)state;
    hob_use((hob_app *)NULL, pass_a);
    hob_get(hob_route(NULL, "/v1"), "/a", handler);
    assert_null(hob__application(NULL));
    assert_false(hob__router_compile(NULL));
    hob__router_print(NULL, stdout);
    hob__router_free(NULL);
}

static void memory_that_ran_out_stops_the_start(void **state) {
    (void)state;
    hob__arena_fail(hob__application(app)->memory);
    hob_get(app, "/a", handler);
    assert_null(hob_route(app, "/v1"));
    assert_false(hob__router_compile(app));
    assert_non_null(strstr(hob__application(app)->fault, "memory ran out"));
}

static void an_app_without_routes_knows_no_path(void **state) {
    (void)state;
    compile();
    assert_string_equal(find(HOB_GET, "/"), "none");
    assert_false(match.path_known);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(finds_the_most_particular_pattern),
        TEST(an_encoded_slash_separates_nothing),
        TEST(dot_segments_lead_nowhere),
        TEST(captures_parameters),
        TEST(methods_do_not_hide_each_other),
        TEST(tells_what_is_allowed),
        cmocka_unit_test(wrong_patterns_are_refused),
        TEST(a_route_needs_a_handler),
        TEST(conflicts_name_both),
        TEST(groups_add_prefixes_and_middlewares),
        TEST(what_is_declared_later_counts_after_the_next_compile),
        TEST(borrows_nothing_from_the_declaration),
        TEST(prints_routes_as_declared),
        TEST(everything_bears_an_app_that_could_not_be_made),
        TEST(memory_that_ran_out_stops_the_start),
        TEST(an_app_without_routes_knows_no_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
