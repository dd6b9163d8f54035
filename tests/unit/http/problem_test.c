#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/text.h"
#include "fixture.h"

static fixture f;
static hob_ctx *c;

static int begin(void **state) {
    (void)state;
    c = fixture_get(&f, "/");
    f.request.id = HOB_TEXT("id-1");
    return 0;
}

static int end(void **state) {
    (void)state;
    fixture_end(&f);
    return 0;
}

static json_object *member(json_object *object, const char *key) {
    json_object *value = NULL;
    return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static void assert_problem(int status, const char *title, const char *detail) {
    char *text = strndup(f.response.body.data, f.response.body.size);
    json_object *body = json_tokener_parse(text);
    assert_non_null(body);
    assert_int_equal(f.response.status, status);
    assert_text(f.response.content_type, "application/problem+json");
    assert_string_equal(json_object_get_string(member(body, "type")), "about:blank");
    assert_string_equal(json_object_get_string(member(body, "title")), title);
    assert_int_equal(json_object_get_int(member(body, "status")), status);
    assert_string_equal(json_object_get_string(member(body, "detail")), detail);
    assert_string_equal(json_object_get_string(member(body, "instance")), "id-1");
    assert_text(f.response.problem_detail, detail);
    json_object_put(body);
    free(text);
}

static void each_function_has_its_status(void **state) {
    (void)state;
    assert_int_equal(hob_problem(c, 410, "gone since %d", 1999), 410);
    assert_problem(410, "Gone", "gone since 1999");
    assert_int_equal(hob_bad_request(c, "a %s", "b"), 400);
    assert_problem(400, "Bad Request", "a b");
    assert_int_equal(hob_not_found(c, "no user %d", 42), 404);
    assert_problem(404, "Not Found", "no user 42");
    assert_int_equal(hob_conflict(c, "taken"), 409);
    assert_problem(409, "Conflict", "taken");
    assert_int_equal(hob_unavailable(c, 7, "later"), 503);
    assert_problem(503, "Service Unavailable", "later");
    assert_text(hob__response_header(&f.response, HOB_TEXT("Retry-After")), "7");
    assert_int_equal(hob_problem(c, 599, "odd"), 599);
    assert_problem(599, "Error", "odd");
}

static void a_problem_looks_like_this(void **state) {
    (void)state;
    hob_not_found(c, "no user %d", 42);
    assert_text(f.response.body, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                                 "\"detail\":\"no user 42\",\"instance\":\"id-1\"}");
}

static void a_detail_is_escaped(void **state) {
    (void)state;
    const char *detail = "\" \\ / \b\f\n\r\t \x01 \x1f \x7f \xe2\x82\xac \xf0\x9f\x98\x80";
    hob_bad_request(c, "%s", detail);
    assert_problem(400, "Bad Request", detail);
}

static void bytes_that_are_no_utf8_become_replacements(void **state) {
    (void)state;
    hob_text detail = HOB_TEXT("a\377b\xc3(\xed\xa0\x80\xe2\x82");
    hob__response_problem(&f.response, f.arena, 400, HOB_TEXT("x"), detail);
#define R "\xef\xbf\xbd"
    assert_contains(f.response.body, "\"detail\":\"a" R "b" R "(" R R R R R "\"");
    assert_int_equal(hob__utf8_valid_prefix(f.response.body), f.response.body.size);
}

static void a_long_detail_is_kept_whole(void **state) {
    (void)state;
    char detail[5000];
    memset(detail, '"', sizeof detail - 1);
    detail[sizeof detail - 1] = '\0';
    hob_bad_request(c, "%s", detail);
    assert_problem(400, "Bad Request", detail);
}

static void what_is_unknown_is_left_out(void **state) {
    (void)state;
    hob__response_problem(&f.response, f.arena, 404, (hob_text){0}, (hob_text){0});
    assert_text(f.response.body, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404}");
}

static void errors_are_a_member(void **state) {
    (void)state;
    json_object *errors = json_tokener_parse("[{\"pointer\":\"/a\",\"detail\":\"is missing\"}]");
    assert_int_equal(hob__response_problem_with(&f.response, f.arena, 422, HOB_TEXT("i"), HOB_TEXT("d"), errors), 422);
    assert_contains(f.response.body, ",\"errors\":[{\"pointer\":\"/a\",\"detail\":\"is missing\"}]}");
    json_object_put(errors);
}

static void without_memory_it_is_a_503(void **state) {
    (void)state;
    hob__arena_fail(f.arena);
    assert_int_equal(hob_not_found(c, "no user"), 503);
    assert_int_equal(f.response.status, 503);
    assert_contains(f.response.body, "\"status\":503");
    assert_text(hob__response_header(&f.response, HOB_TEXT("X-Request-ID")), "id-1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_function_has_its_status), TEST(a_problem_looks_like_this),
        TEST(a_detail_is_escaped),          TEST(bytes_that_are_no_utf8_become_replacements),
        TEST(a_long_detail_is_kept_whole),  TEST(what_is_unknown_is_left_out),
        TEST(errors_are_a_member),          TEST(without_memory_it_is_a_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
