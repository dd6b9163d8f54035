#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "fixture.h"

static hob_app *app;
static fixture f;
static char trace[32]; /* a letter for each that ran */

static void note(char letter) {
    size_t size = strlen(trace);
    assert_true(size + 1 < sizeof trace);
    trace[size] = letter;
    trace[size + 1] = '\0';
}

static int outer(hob_ctx *c, const hob_chain *chain) {
    note('o');
    int status = hob_next(c, chain);
    note('O');
    return status;
}

static int of_group(hob_ctx *c, const hob_chain *chain) {
    note('g');
    return hob_next(c, chain);
}

static int of_route(hob_ctx *c, const hob_chain *chain) {
    note('r');
    return hob_next(c, chain);
}

static int refuse(hob_ctx *c, const hob_chain *chain) {
    (void)chain;
    return hob_problem(c, 401, "who are you?");
}

static int hello(hob_ctx *c) {
    note('h');
    return hob_text_reply(c, 200, HOB_TEXT("hello"));
}

static int answers_nothing(hob_ctx *c) {
    (void)c;
    return 200;
}

static int returns_nonsense(hob_ctx *c) {
    (void)hob_text_reply(c, 200, HOB_TEXT("hello"));
    return 0;
}

static int returns_another_status(hob_ctx *c) {
    (void)hob_not_found(c, "no");
    return 200;
}

static int answers_informational(hob_ctx *c) {
    return hob_reply(c, 100, NULL, HOB_TEXT(""));
}

static int exhausts_memory(hob_ctx *c) {
    hob_set_header(c, "Location", "/a");
    void *block = hob_alloc(c, FIXTURE_MEMORY);
    assert_null(block);
    return hob_text_reply(c, 200, HOB_TEXT("hello"));
}

static int echoes_name(hob_ctx *c) {
    return hob_text_reply(c, 200, hob_path_text(c, "name"));
}

static int past_its_deadline(hob_ctx *c) {
    c->task->deadline = 1;
    return hob_text_reply(c, 200, HOB_TEXT("late"));
}

static int begin(void **state) {
    (void)state;
    app = hob_new("test");
    hob_use(app, outer);
    hob_router *group = hob_route(app, "/g");
    hob_use(group, of_group);
    hob_get(group, "/hello", hello, of_route);
    hob_post(group, "/hello", hello);
    hob_get(app, "/refused", hello, refuse, of_route);
    hob_get(app, "/nothing", answers_nothing);
    hob_get(app, "/nonsense", returns_nonsense);
    hob_get(app, "/another", returns_another_status);
    hob_get(app, "/informational", answers_informational);
    hob_get(app, "/memory", exhausts_memory);
    hob_get(app, "/name/{name}", echoes_name);
    hob_get(app, "/late", past_its_deadline);
    return app && hob__router_compile(app) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    hob__router_free(app);
    return 0;
}

static void serve(void) {
    trace[0] = '\0';
    memset(&f.match, 0xa5, sizeof f.match);
    hob__serve(hob__application(app), &f.ctx, &f.match);
}

static int request(const char *method, const char *target) {
    static char variables[2][256];
    snprintf(variables[0], sizeof variables[0], "REQUEST_METHOD=%s", method);
    snprintf(variables[1], sizeof variables[1], "REQUEST_URI=%s", target);
    fixture_begin(&f, (char *[]){variables[0], variables[1], NULL});
    serve();
    return f.response.status;
}

static void middlewares_wrap_the_handler(void **state) {
    (void)state;
    assert_int_equal(request("GET", "/g/hello"), 200);
    assert_string_equal(trace, "ogrhO");
    assert_text(f.response.body, "hello");
    assert_text(f.response.content_type, "text/plain; charset=utf-8");
    assert_string_equal(f.ctx.match->route->pattern, "/g/hello");
    fixture_end(&f);
    assert_int_equal(request("POST", "/g/hello"), 200);
    assert_string_equal(trace, "oghO");
    fixture_end(&f);
}

static void a_middleware_may_answer_instead(void **state) {
    (void)state;
    assert_int_equal(request("GET", "/refused"), 401);
    assert_string_equal(trace, "oO");
    fixture_end(&f);
}

static void head_runs_the_handler_of_get(void **state) {
    (void)state;
    assert_int_equal(request("HEAD", "/g/hello"), 200);
    assert_string_equal(trace, "ogrhO");
    assert_int_equal(f.response.body.size, 5);
    assert_false(hob__response_has_body(&f.response, f.request.method));
    fixture_end(&f);
}

static void what_has_no_route_is_answered_within_the_outer_middlewares(void **state) {
    static const struct {
        const char *method, *target;
        int status;
        const char *allow;
    } cases[] = {
        {"GET", "/nowhere", 404, NULL},
        {"OPTIONS", "/nowhere", 404, NULL},
        {"BREW", "/nowhere", 404, NULL},
        {"GET", "/g", 404, NULL},
        {"GET", "/g/hello/", 404, NULL},
        {"GET", "/g%2Fhello", 404, NULL},
        {"OPTIONS", "/g/hello", 204, "GET, HEAD, POST, OPTIONS"},
        {"DELETE", "/g/hello", 405, "GET, HEAD, POST, OPTIONS"},
        {"BREW", "/g/hello", 405, "GET, HEAD, POST, OPTIONS"},
        {"get", "/g/hello", 405, "GET, HEAD, POST, OPTIONS"},
        {"POST", "/refused", 405, "GET, HEAD, OPTIONS"},
        {"GET", "/%zz", 400, NULL},
        {"OPTIONS", "*", 400, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (request(cases[i].method, cases[i].target) != cases[i].status)
            fail_msg("%s %s: %d", cases[i].method, cases[i].target, f.response.status);
        assert_string_equal(trace, "oO");
        assert_null(f.ctx.match->route);
        hob_text allow = hob__response_header(&f.response, HOB_TEXT("Allow"));
        if (cases[i].allow)
            assert_text(allow, cases[i].allow);
        else
            assert_null(allow.data);
        assert_int_equal(f.response.body.size == 0, cases[i].status == 204);
        fixture_end(&f);
    }
}

static void a_faulty_request_never_reaches_its_handler(void **state) {
    static const struct {
        hob_request_fault fault;
        int status;
        const char *detail;
    } cases[] = {
        {HOB_REQUEST_BAD_PATH, 400, "path"},     {HOB_REQUEST_BAD_LENGTH, 400, "Content-Length"},
        {HOB_REQUEST_WRONG_LENGTH, 400, "body"}, {HOB_REQUEST_TOO_LARGE, 413, "1024 bytes"},
        {HOB_REQUEST_TIMED_OUT, 408, "in time"}, {HOB_REQUEST_NO_MEMORY, 503, "memory"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_get(&f, "/g/hello");
        f.request.fault = cases[i].fault;
        serve();
        assert_int_equal(f.response.status, cases[i].status);
        assert_contains(f.response.problem_detail, cases[i].detail);
        assert_string_equal(trace, "oO");
        assert_string_equal(f.ctx.match->route->pattern, "/g/hello"); /* for the log */
        assert_int_equal(hob__response_header(&f.response, HOB_TEXT("Retry-After")).size > 0, cases[i].status == 503);
        fixture_end(&f);
    }
    fixture_get(&f, "/g/hello");
    f.request.truncated_parameters = true;
    serve();
    assert_int_equal(f.response.status, 400);
    assert_string_equal(trace, "oO");
    fixture_end(&f);
}

static void a_request_without_memory_is_still_answered(void **state) {
    (void)state;
    fixture_get(&f, "/g/hello");
    hob__arena_fail(f.arena);
    f.request.fault = HOB_REQUEST_NO_MEMORY;
    f.request.id = HOB_TEXT("id-1");
    serve();
    assert_int_equal(f.response.status, 503);
    assert_string_equal(trace, "oO");
    assert_contains(hob__response_head(&f.response, f.arena), "\r\nX-Request-ID: id-1\r\n");
    fixture_end(&f);
}

static void a_handler_that_answers_nothing_or_nonsense_is_a_500(void **state) {
    static const char *const targets[] = {"/nothing", "/nonsense", "/another", "/informational"};
    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        assert_int_equal(request("GET", targets[i]), 500);
        assert_text(f.response.content_type, "application/problem+json");
        assert_contains(f.response.body, "\"status\":500");
        fixture_end(&f);
    }
}

static void memory_that_ran_out_is_a_503(void **state) {
    (void)state;
    assert_int_equal(request("GET", "/memory"), 503);
    assert_contains(f.response.body, "\"status\":503");
    assert_null(hob__response_header(&f.response, HOB_TEXT("Location")).data);
    hob_text head = hob__response_head(&f.response, f.arena);
    assert_contains(head, "Status: 503 Service Unavailable\r\n");
    assert_contains(head, "\r\nRetry-After: 1\r\n");
    fixture_end(&f);
}

static void a_parameter_with_an_encoded_slash_is_one_parameter(void **state) {
    (void)state;
    assert_int_equal(request("GET", "/name/a%2Fb%20c"), 200);
    assert_text(f.response.body, "a/b c");
    fixture_end(&f);
    assert_int_equal(request("GET", "/name/a/b"), 404);
    fixture_end(&f);
    assert_int_equal(request("GET", "/name/..%2Fb"), 404);
    fixture_end(&f);
}

static void an_answer_after_the_deadline_stands(void **state) {
    (void)state;
    assert_int_equal(request("GET", "/late"), 200);
    assert_text(f.response.body, "late");
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(middlewares_wrap_the_handler),
        cmocka_unit_test(a_middleware_may_answer_instead),
        cmocka_unit_test(head_runs_the_handler_of_get),
        cmocka_unit_test(what_has_no_route_is_answered_within_the_outer_middlewares),
        cmocka_unit_test(a_faulty_request_never_reaches_its_handler),
        cmocka_unit_test(a_request_without_memory_is_still_answered),
        cmocka_unit_test(a_handler_that_answers_nothing_or_nonsense_is_a_500),
        cmocka_unit_test(memory_that_ran_out_is_a_503),
        cmocka_unit_test(a_parameter_with_an_encoded_slash_is_one_parameter),
        cmocka_unit_test(an_answer_after_the_deadline_stands),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
