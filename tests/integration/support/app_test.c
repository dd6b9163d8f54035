/*
 * users-api in-process: every route through the real router, middlewares and handlers, without a web server. The
 * database and the cache are real: DATABASE_URL names a migrated one that this program may fill, HOB_CACHE a memcached.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "users_api.h"

static hob_app *app;

static json_object *json_of(const hob_test_response *r) {
    json_object *tree = json_tokener_parse(hob_test_body(r));
    assert_non_null(tree);
    return tree;
}

static int64_t int_of(json_object *tree, const char *key) {
    json_object *value = json_object_object_get(tree, key);
    assert_true(json_object_is_type(value, json_type_int));
    return json_object_get_int64(value);
}

static const char *text_of(json_object *tree, const char *key) {
    json_object *value = json_object_object_get(tree, key);
    assert_true(json_object_is_type(value, json_type_string));
    return json_object_get_string(value);
}

static const hob_test_response *request(int status, const char *method, const char *target, const char *body) {
    const hob_test_response *r = hob_test_request(app, method, target, body);
    if (hob_test_status(r) != status)
        print_message("%s %s: %d %s\n", method, target, hob_test_status(r), hob_test_body(r));
    assert_int_equal(hob_test_status(r), status);
    assert_non_null(hob_test_header_of(r, "X-Request-ID"));
    if (status >= 400) {
        assert_string_equal(hob_test_header_of(r, "Content-Type"), "application/problem+json");
        json_object *problem = json_of(r);
        assert_int_equal(int_of(problem, "status"), status);
        assert_string_equal(text_of(problem, "instance"), hob_test_header_of(r, "X-Request-ID"));
        json_object_put(problem);
    }
    return r;
}

/* A user of its own for each test. */
static int64_t new_user(void) {
    static int count;
    char body[128];
    snprintf(body, sizeof body, "{\"name\":\"In Process\",\"email\":\"%d-%d@in.process\"}", (int)getpid(), ++count);
    json_object *user = json_of(request(201, "POST", "/api/v1/users", body));
    int64_t id = int_of(user, "id");
    json_object_put(user);
    return id;
}

static const hob_test_response *of_user(int status, const char *method, int64_t id, const char *rest,
                                        const char *body) {
    char target[96];
    snprintf(target, sizeof target, "/api/v1/users/%" PRId64 "%s", id, rest);
    return request(status, method, target, body);
}

static void probes(void **state) {
    (void)state;
    assert_string_equal(hob_test_body(request(200, "GET", "/ping", NULL)), "{\"message\":\"pong\"}");
    assert_string_equal(hob_test_body(request(200, "GET", "/livez", NULL)), "{\"status\":\"ok\"}");
    (void)request(200, "GET", "/api/v1/users", NULL); /* after it the database is known to be up */
    assert_string_equal(hob_test_body(request(200, "GET", "/readyz", NULL)),
                        "{\"status\":\"ready\",\"database\":\"up\",\"cache\":\"up\"}");
}

static void head_has_the_headers_of_get_and_no_body(void **state) {
    (void)state;
    const hob_test_response *r = request(200, "HEAD", "/ping", NULL);
    assert_string_equal(hob_test_body(r), "");
    assert_string_equal(hob_test_header_of(r, "Content-Type"), "application/json");
}

static void options_and_other_methods(void **state) {
    (void)state;
    const hob_test_response *r = request(204, "OPTIONS", "/api/v1/users", NULL);
    assert_string_equal(hob_test_header_of(r, "Allow"), "GET, HEAD, POST, OPTIONS");
    r = request(405, "DELETE", "/ping", NULL);
    assert_string_equal(hob_test_header_of(r, "Allow"), "GET, HEAD, OPTIONS");
    (void)request(404, "GET", "/nowhere", NULL);
    (void)request(404, "GET", "/api/v1/users/0", NULL);
    (void)request(404, "GET", "/api/v1/users/abc", NULL);
    (void)request(400, "GET", "/%zz", NULL);
}

static void a_user_lives_and_dies(void **state) {
    (void)state;
    int64_t id = new_user();
    json_object *user = json_of(of_user(200, "GET", id, "", NULL));
    assert_string_equal(text_of(user, "name"), "In Process");
    assert_int_equal(strlen(text_of(user, "created_at")), 27);
    json_object_put(user);
    user = json_of(of_user(200, "PATCH", id, "", "{\"name\":\"  Patched \"}"));
    assert_string_equal(text_of(user, "name"), "Patched");
    json_object_put(user);
    user = json_of(of_user(200, "GET", id, "", NULL));
    assert_string_equal(text_of(user, "name"), "Patched");
    json_object_put(user);
    char body[96];
    snprintf(body, sizeof body, "{\"name\":\"Put\",\"email\":\"put%" PRId64 "@in.process\"}", id);
    user = json_of(of_user(200, "PUT", id, "", body));
    assert_string_equal(text_of(user, "name"), "Put");
    json_object_put(user);
    (void)of_user(204, "DELETE", id, "", NULL);
    (void)of_user(404, "GET", id, "", NULL);
    (void)of_user(404, "DELETE", id, "", NULL);
    (void)of_user(404, "PUT", id, "", body);
    (void)of_user(404, "PATCH", id, "", "{}");
}

static void patching_nothing_changes_nothing(void **state) {
    (void)state;
    int64_t id = new_user();
    char before[512];
    snprintf(before, sizeof before, "%s", hob_test_body(of_user(200, "GET", id, "", NULL)));
    assert_string_equal(hob_test_body(of_user(200, "PATCH", id, "", "{}")), before);
}

static void every_fault_of_a_body_at_once(void **state) {
    (void)state;
    json_object *problem = json_of(request(422, "POST", "/api/v1/users", "{\"name\":\"\",\"id\":1,\"mail\":2}"));
    json_object *errors = json_object_object_get(problem, "errors");
    assert_int_equal(json_object_array_length(errors), 4);
    json_object_put(problem);
    (void)request(400, "POST", "/api/v1/users", "{\"name\":'x'}");
    (void)request(400, "POST", "/api/v1/users", "");
    (void)request(422, "POST", "/api/v1/users", "[]");
    (void)request(422, "POST", "/api/v1/users", "{\"name\":\"a\",\"email\":\"a@\\u00a0b\"}");
    const hob_test_header text[] = {{"Content-Type", "text/plain"}, {NULL, NULL}};
    assert_int_equal(hob_test_status(hob_test_request_with(app, "POST", "/api/v1/users", text, "{}")), 415);
}

static void an_email_is_taken_whatever_its_case(void **state) {
    (void)state;
    (void)request(201, "POST", "/api/v1/users", "{\"name\":\"a\",\"email\":\"Taken@in.process\"}");
    json_object *problem =
        json_of(request(409, "POST", "/api/v1/users", "{\"name\":\"b\",\"email\":\"taken@IN.process\"}"));
    json_object *first = json_object_array_get_idx(json_object_object_get(problem, "errors"), 0);
    assert_string_equal(text_of(first, "pointer"), "/email");
    json_object_put(problem);
}

static void users_page_by_page(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        (void)new_user();
    const hob_test_response *r = request(200, "GET", "/api/v1/users?limit=2", NULL);
    assert_non_null(hob_test_header_of(r, "Link"));
    json_object *page = json_of(r);
    char target[96];
    snprintf(target, sizeof target, "/api/v1/users?limit=2&after=%s", text_of(page, "next"));
    int64_t last = int_of(json_object_array_get_idx(json_object_object_get(page, "users"), 1), "id");
    json_object_put(page);
    page = json_of(request(200, "GET", target, NULL));
    assert_true(int_of(json_object_array_get_idx(json_object_object_get(page, "users"), 0), "id") > last);
    json_object_put(page);
    page = json_of(request(200, "GET", "/api/v1/users?after=9223372036854775806", NULL));
    assert_int_equal(json_object_array_length(json_object_object_get(page, "users")), 0);
    assert_null(json_object_object_get(page, "next"));
    json_object_put(page);
    (void)request(400, "GET", "/api/v1/users?limit=0", NULL);
    (void)request(400, "GET", "/api/v1/users?limit=101", NULL);
    (void)request(400, "GET", "/api/v1/users?after=x", NULL);
}

static void orders_and_their_user(void **state) {
    (void)state;
    int64_t id = new_user();
    const hob_test_response *r = of_user(201, "POST", id, "/orders",
                                         "{\"items\":[{\"sku\":\"tea-50\",\"quantity\":2,\"unit_price_cents\":999},"
                                         "{\"sku\":\"cup\",\"quantity\":1,\"unit_price_cents\":0}]}");
    char location[96], created[512];
    snprintf(location, sizeof location, "%s", hob_test_header_of(r, "Location"));
    snprintf(created, sizeof created, "%s", hob_test_body(r));
    assert_string_equal(hob_test_body(request(200, "GET", location, NULL)), created);
    assert_string_equal(hob_test_body(request(200, "GET", location, NULL)), created); /* now from the cache */
    json_object *order = json_of(request(200, "GET", location, NULL));
    assert_int_equal(int_of(order, "total_cents"), 1998);
    assert_int_equal(json_object_array_length(json_object_object_get(order, "items")), 2);
    json_object_put(order);
    json_object *list = json_of(of_user(200, "GET", id, "/orders", NULL));
    assert_int_equal(json_object_array_length(json_object_object_get(list, "orders")), 1);
    json_object_put(list);
    (void)of_user(409, "DELETE", id, "", NULL);
    (void)of_user(404, "GET", INT64_MAX - 1, "/orders", NULL);
    (void)of_user(404, "POST", INT64_MAX - 1, "/orders",
                  "{\"items\":[{\"sku\":\"a\",\"quantity\":1,\"unit_price_cents\":1}]}");
    (void)of_user(422, "POST", id, "/orders", "{\"items\":[]}");
    (void)request(404, "GET", "/api/v1/orders/9223372036854775806", NULL);
}

static void a_summary_of_three_look_ups(void **state) {
    (void)state;
    int64_t id = new_user();
    for (int i = 0; i < 12; i++)
        (void)of_user(201, "POST", id, "/orders",
                      "{\"items\":[{\"sku\":\"a\",\"quantity\":3,\"unit_price_cents\":5}]}");
    json_object *summary = json_of(of_user(200, "GET", id, "/summary", NULL));
    assert_int_equal(int_of(json_object_object_get(summary, "user"), "id"), id);
    assert_int_equal(json_object_array_length(json_object_object_get(summary, "orders")), 10);
    json_object *totals = json_object_object_get(summary, "totals");
    assert_int_equal(int_of(totals, "orders"), 12);
    assert_int_equal(int_of(totals, "cents"), 180);
    json_object_put(summary);
    (void)of_user(404, "GET", INT64_MAX - 1, "/summary", NULL);
}

static void request_ids(void **state) {
    (void)state;
    const hob_test_header good[] = {{"X-Request-ID", "abc-1.2_3"}, {NULL, NULL}};
    const hob_test_header bad[] = {{"X-Request-ID", "no blanks"}, {NULL, NULL}};
    const hob_test_response *r = hob_test_request_with(app, "GET", "/ping", good, NULL);
    assert_string_equal(hob_test_header_of(r, "X-Request-ID"), "abc-1.2_3");
    r = hob_test_request_with(app, "GET", "/ping", bad, NULL);
    assert_int_equal(strlen(hob_test_header_of(r, "X-Request-ID")), 36);
}

static int start(void **state) {
    (void)state;
    app = users_api();
    return app ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    hob_test_end(app);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes),
        cmocka_unit_test(head_has_the_headers_of_get_and_no_body),
        cmocka_unit_test(options_and_other_methods),
        cmocka_unit_test(a_user_lives_and_dies),
        cmocka_unit_test(patching_nothing_changes_nothing),
        cmocka_unit_test(every_fault_of_a_body_at_once),
        cmocka_unit_test(an_email_is_taken_whatever_its_case),
        cmocka_unit_test(users_page_by_page),
        cmocka_unit_test(orders_and_their_user),
        cmocka_unit_test(a_summary_of_three_look_ups),
        cmocka_unit_test(request_ids),
    };
    return cmocka_run_group_tests(tests, start, end);
}
