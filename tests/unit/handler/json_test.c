/* hob_bind and the trees of an answer, through the recorder: no database, no cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hob.h"

struct point {
    int64_t x, y;
};

static const hob_field POINT[] = {
    {.name = "x", .type = HOB_INT, .offset = offsetof(struct point, x)},
    {.name = "y", .type = HOB_INT, .offset = offsetof(struct point, y)},
    {0},
};

static int answer_point(hob_ctx *c, const struct point *point) {
    json_object *object = hob_object(c), *within = hob_object(c);
    hob_set(c, within, "x", hob_own(c, json_object_new_int64(point->x)));
    hob_set(c, within, "y", hob_own(c, json_object_new_int64(point->y)));
    hob_set(c, object, "point", within);
    hob_set(c, object, "nothing", NULL);
    return hob_json(c, 200, object);
}

static int put_point(hob_ctx *c) {
    struct point point;
    int status = hob_bind(c, POINT, &point);
    return status ? status : answer_point(c, &point);
}

static int patch_point(hob_ctx *c) {
    struct point point = {.x = 7, .y = 8};
    int status = hob_bind_some(c, POINT, &point);
    return status ? status : answer_point(c, &point);
}

static hob_app *app;

static const hob_test_response *send_as(const char *method, const char *type, const char *body) {
    const hob_test_header headers[] = {{"Content-Type", type}, {NULL, NULL}};
    return hob_test_request_with(app, method, "/point", headers, body);
}

static void a_body_becomes_a_struct_and_back(void **state) {
    (void)state;
    const hob_test_response *r = hob_test_request(app, "PUT", "/point", "{\"y\":2,\"x\":1}");
    assert_int_equal(hob_test_status(r), 200);
    assert_string_equal(hob_test_header_of(r, "Content-Type"), "application/json");
    assert_string_equal(hob_test_body(r), "{\"point\":{\"x\":1,\"y\":2},\"nothing\":null}");
}

static void some_fields_leave_the_others_alone(void **state) {
    (void)state;
    const hob_test_response *r = hob_test_request(app, "PATCH", "/point", "{\"y\":2}");
    assert_string_equal(hob_test_body(r), "{\"point\":{\"x\":7,\"y\":2},\"nothing\":null}");
}

static void the_content_type_decides(void **state) {
    static const struct {
        const char *method, *type;
        int status;
    } cases[] = {
        {"PUT", "application/json", 200},
        {"PUT", "Application/JSON; charset=\"utf-8\"", 200},
        {"PUT", "application/json; charset=latin1", 415},
        {"PUT", "application/merge-patch+json", 415},
        {"PUT", "application/jsonx", 415},
        {"PUT", "text/plain", 415},
        {"PUT", "", 415},
        {"PATCH", "application/json", 200},
        {"PATCH", "application/merge-patch+json; charset=UTF-8", 200},
        {"PATCH", "application/json-patch+json", 415},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const hob_test_response *r = send_as(cases[i].method, cases[i].type, "{\"x\":1,\"y\":2}");
        if (hob_test_status(r) != cases[i].status)
            print_message("%s %s\n", cases[i].method, cases[i].type);
        assert_int_equal(hob_test_status(r), cases[i].status);
    }
}

static void a_refused_patch_says_what_is_taken(void **state) {
    (void)state;
    const hob_test_response *r = send_as("PATCH", "text/plain", "{}");
    assert_string_equal(hob_test_header_of(r, "Accept-Patch"), "application/merge-patch+json, application/json");
    r = send_as("PUT", "text/plain", "{}");
    assert_string_equal(hob_test_header_of(r, "Accept"), "application/json");
}

static void no_body_is_no_json_whatever_its_type(void **state) {
    (void)state;
    assert_int_equal(hob_test_status(hob_test_request(app, "PUT", "/point", NULL)), 400);
    assert_int_equal(hob_test_status(hob_test_request(app, "PUT", "/point", "")), 400);
    assert_int_equal(hob_test_status(hob_test_request(app, "PUT", "/point", "{\"x\":1,\"y\":2")), 400);
}

static void every_fault_is_told_at_once(void **state) {
    (void)state;
    const hob_test_response *r = hob_test_request(app, "PUT", "/point", "{\"x\":\"1\",\"z\":2}");
    assert_int_equal(hob_test_status(r), 422);
    assert_non_null(strstr(hob_test_body(r), "{\"pointer\":\"/x\",\"detail\":\"must be an integer\"}"));
    assert_non_null(strstr(hob_test_body(r), "{\"pointer\":\"/y\",\"detail\":\"is required\"}"));
    assert_non_null(strstr(hob_test_body(r), "{\"pointer\":\"/z\",\"detail\":\"is not a known field\"}"));
}

static void probes_without_database_and_cache(void **state) {
    (void)state;
    const hob_test_response *r = hob_test_request(app, "GET", "/readyz", NULL);
    assert_int_equal(hob_test_status(r), 200);
    assert_string_equal(hob_test_body(r), "{\"status\":\"ready\",\"database\":\"off\",\"cache\":\"off\"}");
    assert_string_equal(hob_test_body(hob_test_request(app, "GET", "/livez", NULL)), "{\"status\":\"ok\"}");
}

static int start(void **state) {
    (void)state;
    static const char *const configured[] = {"DATABASE_URL", "PGHOST",     "PGHOSTADDR",
                                             "PGSERVICE",    "PGDATABASE", "HOB_CACHE"};
    for (size_t i = 0; i < sizeof configured / sizeof *configured; i++)
        unsetenv(configured[i]);
    app = hob_new("json-test");
    hob_use(app, hob_request_id, hob_recover);
    hob_put(app, "/point", put_point);
    hob_patch(app, "/point", patch_point);
    hob_get(app, "/livez", hob_livez);
    hob_get(app, "/readyz", hob_readyz);
    return 0;
}

static int end(void **state) {
    (void)state;
    hob_test_end(app);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_becomes_a_struct_and_back),
        cmocka_unit_test(some_fields_leave_the_others_alone),
        cmocka_unit_test(the_content_type_decides),
        cmocka_unit_test(a_refused_patch_says_what_is_taken),
        cmocka_unit_test(no_body_is_no_json_whatever_its_type),
        cmocka_unit_test(every_fault_is_told_at_once),
        cmocka_unit_test(probes_without_database_and_cache),
    };
    return cmocka_run_group_tests(tests, start, end);
}
