#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "environment_fixture.h"

static void knows_methods(void **state) {
    (void)state;
    for (int method = 0; method < HOB_METHODS; method++)
        assert_int_equal(hob__method_of(hob__method_names[method]), method);
    assert_int_equal(hob__method_of(HOB_TEXT("get")), HOB_METHOD_UNKNOWN);
    assert_int_equal(hob__method_of(HOB_TEXT("GETS")), HOB_METHOD_UNKNOWN);
    assert_int_equal(hob__method_of(HOB_TEXT("")), HOB_METHOD_UNKNOWN);
    assert_int_equal(hob__method_of((hob_text){0}), HOB_METHOD_UNKNOWN);
}

static void indexes_an_environment(void **state) {
    (void)state;
    read_with(NULL, (char *[]){"REQUEST_METHOD=POST", "REQUEST_URI=/api/v1/users?limit=2&x=a%20b", "QUERY_STRING=other",
                               "REMOTE_ADDR=192.0.2.7", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=12",
                               "HTTP_X_REQUEST_ID=abc", "HTTP_ACCEPT=", "NOT_A_VARIABLE", "=", "", "HTTP_=y",
                               "SERVER_NAME=example.com", NULL});
    assert_int_equal(request.fault, HOB_REQUEST_GOOD);
    assert_int_equal(request.method, HOB_POST);
    assert_text(request.method_name, "POST");
    assert_text(request.target, "/api/v1/users?limit=2&x=a%20b");
    assert_text(request.path, "/api/v1/users");
    assert_text(request.route_path, "/api/v1/users");
    assert_text(request.query, "limit=2&x=a%20b");
    assert_text(request.peer, "192.0.2.7");
    assert_text(request.client, "192.0.2.7");
    assert_text(request.content_type, "application/json");
    assert_int_equal(request.content_length, 12);
    assert_int_equal(request.header_count, 4);
    assert_text(request.headers[2].name, "x-request-id");
    assert_text(hob__request_header(&request, HOB_TEXT("X-Request-ID")), "abc");
    assert_text(hob__request_header(&request, HOB_TEXT("accept")), "");
    assert_text(hob__request_header(&request, HOB_TEXT("Content-Type")), "application/json");
    assert_text(hob__request_header(&request, HOB_TEXT("content-length")), "12");
    assert_null(hob__request_header(&request, HOB_TEXT("server-name")).data);
    assert_null(request.body.data);
    assert_null(request.id.data);
    assert_int_equal(request.started, 0);
    assert_false(request.truncated_parameters);
}

static void an_empty_environment_is_no_trouble(void **state) {
    (void)state;
    read_with(NULL, (char *[]){NULL});
    assert_int_equal(request.fault, HOB_REQUEST_GOOD);
    assert_int_equal(request.method, HOB_METHOD_UNKNOWN);
    assert_text(request.path, "/");
    assert_null(request.query.data);
    assert_null(request.content_type.data);
    assert_int_equal(request.content_length, -1);
    assert_int_equal(request.header_count, 0);
}

/* Names of one shape are told apart, and those that come again are found among many. */
static void many_headers_are_kept_apart(void **state) {
    static char strings[200][32];
    char *environment[401];
    (void)state;
    for (int i = 0; i < 200; i++) {
        snprintf(strings[i], sizeof strings[i], "HTTP_X_%03d=v%d", i, i);
        environment[i] = environment[200 + i] = strings[i];
    }
    environment[400] = NULL;
    read_with(NULL, environment);
    assert_int_equal(request.header_count, 200);
    for (int i = 0; i < 200; i++) {
        char name[16], value[16];
        snprintf(name, sizeof name, "x-%03d", i);
        snprintf(value, sizeof value, "v%d, v%d", i, i);
        assert_text(request.headers[i].name, name);
        assert_text(request.headers[i].value, value);
    }
}

static void reads_targets(void **state) {
    static const struct {
        const char *uri, *path, *query;
    } cases[] = {
        {"/", "/", NULL},
        {"/?", "/", ""},
        {"/a?b?c", "/a", "b?c"},
        {"/a%3Fb?c", "/a?b", "c"},
        {"/a/", "/a/", NULL},
        {"//a", "//a", NULL},
        {"http://example.com/a?b", "/a", "b"},
        {"HTTPS://example.com:8443/a", "/a", NULL},
        {"http://example.com", "/", NULL},
        {"http://example.com?x=/y", "/", "x=/y"},
        {"/%E2%82%AC", "/\xe2\x82\xac", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char uri[128];
        snprintf(uri, sizeof uri, "REQUEST_URI=%s", cases[i].uri);
        read_with(NULL, (char *[]){uri, NULL});
        assert_int_equal(request.fault, HOB_REQUEST_GOOD);
        assert_text(request.path, cases[i].path);
        if (cases[i].query)
            assert_text(request.query, cases[i].query);
        else
            assert_null(request.query.data);
    }
}

static void refuses_bad_paths(void **state) {
    static const char *const cases[] = {"/%",      "/%zz", "/%00",  "/%ff",    "/\xff",
                                        "/%c0%af", "*",    "users", "http:/a", "%2Fa%2"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char uri[64];
        snprintf(uri, sizeof uri, "REQUEST_URI=%s", cases[i]);
        read_with(NULL, (char *[]){uri, NULL});
        if (request.fault != HOB_REQUEST_BAD_PATH)
            fail_msg("'%s' was accepted", cases[i]);
        assert_text(request.path, "/");
        assert_null(request.route_path.data);
    }
}

static void falls_back_to_script_name_and_path_info(void **state) {
    static const struct {
        char *script, *info;
        const char *path;
    } cases[] = {
        {"SCRIPT_NAME=/api", "PATH_INFO=/users", "/api/users"},
        {"SCRIPT_NAME=", "PATH_INFO=/users", "/users"},
        {"SCRIPT_NAME=/users", "X=y", "/users"},
        {"SCRIPT_NAME=", "PATH_INFO=", "/"},
        {"SCRIPT_NAME=/a%20b", "PATH_INFO=", "/a%20b"}, /* the server has decoded it already */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_with(NULL, (char *[]){cases[i].script, cases[i].info, "QUERY_STRING=q=1", "REQUEST_URI=", NULL});
        assert_int_equal(request.fault, HOB_REQUEST_GOOD);
        assert_text(request.path, cases[i].path);
        assert_text(request.query, "q=1");
    }
    read_with(NULL, (char *[]){"SCRIPT_NAME=/\xff", NULL});
    assert_int_equal(request.fault, HOB_REQUEST_BAD_PATH);
    read_with(NULL, (char *[]){"SCRIPT_NAME=app", NULL});
    assert_int_equal(request.fault, HOB_REQUEST_BAD_PATH);
}

static void goes_below_the_mount(void **state) {
    static const struct {
        const char *mount, *uri, *path, *route_path;
    } cases[] = {
        {"/app", "/app/users", "/users", "/users"},
        {"/app/", "/app/users", "/users", "/users"},
        {"/app", "/app", "/", "/"},
        {"/app", "/app/", "/", "/"},
        {"/app", "/app?x", "/", "/"},
        {"/app", "/application", "/application", NULL},
        {"/app", "/users", "/users", NULL},
        {"/app", "/%61pp/a%2Fb", "/a/b", "/a\377b"},
        {"/app", "/app%2Fusers", "/app/users", NULL},
        {"/app", "/app/../users", "/app/../users", NULL},
        {"/caf%C3%A9", "/caf%c3%a9/users", "/users", "/users"},
        {"/", "/users", "/users", "/users"},
        {"", "/users", "/users", "/users"},
        {"/a/b", "/a/b/c", "/c", "/c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char uri[64];
        snprintf(uri, sizeof uri, "REQUEST_URI=%s", cases[i].uri);
        read_with(cases[i].mount, (char *[]){uri, NULL});
        assert_int_equal(request.fault, HOB_REQUEST_GOOD);
        assert_text(request.path, cases[i].path);
        if (cases[i].route_path)
            assert_text(request.route_path, cases[i].route_path);
        else
            assert_null(request.route_path.data);
    }
}

static void reads_lengths(void **state) {
    static const struct {
        char *variable;
        int64_t length; /* -2: bad */
    } cases[] = {
        {"X=", -1},
        {"CONTENT_LENGTH=", -1},
        {"CONTENT_LENGTH=-1", -1},
        {"CONTENT_LENGTH=0", 0},
        {"CONTENT_LENGTH=1048576", 1048576},
        {"CONTENT_LENGTH=9223372036854775807", INT64_MAX},
        {"CONTENT_LENGTH=9223372036854775808", -2},
        {"CONTENT_LENGTH=-2", -2},
        {"CONTENT_LENGTH=-0", -2},
        {"CONTENT_LENGTH=+1", -2},
        {"CONTENT_LENGTH= 1", -2},
        {"CONTENT_LENGTH=1 ", -2},
        {"CONTENT_LENGTH=1x", -2},
        {"CONTENT_LENGTH=0x10", -2},
        {"CONTENT_LENGTH=1,1", -2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_with(NULL, (char *[]){cases[i].variable, NULL});
        assert_int_equal(request.fault, cases[i].length == -2 ? HOB_REQUEST_BAD_LENGTH : HOB_REQUEST_GOOD);
        if (cases[i].length != -2)
            assert_int_equal(request.content_length, cases[i].length);
    }
}

static void no_memory_is_a_fault(void **state) {
    (void)state;
    hob__arena_fail(arena);
    memset(&request, 0xa5, sizeof request);
    hob__request_from_environment(&request, arena, (char *[]){"REQUEST_METHOD=GET", "HTTP_A=b", NULL}, NULL);
    assert_int_equal(request.fault, HOB_REQUEST_NO_MEMORY);
    assert_int_equal(request.header_count, 0);
    assert_text(request.path, "/");
}

static void compares_media_types(void **state) {
    static const struct {
        hob_text type;
        bool is;
    } cases[] = {
        {HOB_TEXT("application/json"), true},
        {HOB_TEXT("Application/JSON"), true},
        {HOB_TEXT("application/json; charset=utf-8"), true},
        {HOB_TEXT("application/json;charset=UTF-8"), true},
        {HOB_TEXT("application/json ; Charset=\"utf-8\""), true},
        {HOB_TEXT("application/json;"), true},
        {HOB_TEXT("application/json; x=\"a;charset=latin1\"; y=z"), true},
        {HOB_TEXT("application/json; x=\"a\\\";charset=latin1\""), true},
        {HOB_TEXT("application/json; charset=latin1"), false},
        {HOB_TEXT("application/json; charset=utf-8; charset=latin1"), false},
        {HOB_TEXT("application/json; x=\"\"; charset=utf-16"), false},
        {HOB_TEXT("application/json; charset"), false},
        {HOB_TEXT("application/json; charset="), false},
        {HOB_TEXT("application/jsonx"), false},
        {HOB_TEXT("application/jso"), false},
        {HOB_TEXT("text/json"), false},
        {HOB_TEXT("application/json, text/plain"), false},
        {HOB_TEXT(""), false},
        {{0}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (hob__media_type_is(cases[i].type, HOB_TEXT("application/json")) != cases[i].is)
            fail_msg("'" HOB_FMT "'", HOB_ARG(cases[i].type));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_methods),
        cmocka_unit_test(indexes_an_environment),
        cmocka_unit_test(an_empty_environment_is_no_trouble),
        cmocka_unit_test(many_headers_are_kept_apart),
        cmocka_unit_test(reads_targets),
        cmocka_unit_test(refuses_bad_paths),
        cmocka_unit_test(falls_back_to_script_name_and_path_info),
        cmocka_unit_test(goes_below_the_mount),
        cmocka_unit_test(reads_lengths),
        cmocka_unit_test(no_memory_is_a_fault),
        cmocka_unit_test(compares_media_types),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}
