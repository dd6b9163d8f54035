#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fixture.h"

static fixture f;
static hob_ctx *c;

static int begin(void **state) {
    (void)state;
    c = fixture_begin(&f, (char *[]){"REQUEST_METHOD=GET", "REQUEST_URI=/a%20b?n=5&limit=2&s=x+y&bad=%zz&e=",
                                     "HTTP_X_TOKEN=secret", "REMOTE_ADDR=192.0.2.1", NULL});
    f.request.id = HOB_TEXT("id-1");
    f.request.body = HOB_TEXT("{}");
    return 0;
}

static int end(void **state) {
    (void)state;
    fixture_end(&f);
    return 0;
}

static void ask(const char *query) {
    f.request.query = hob_text_of(query);
    f.response.status = 0;
}

static void tells_of_the_request(void **state) {
    (void)state;
    assert_text(hob_method(c), "GET");
    assert_text(hob_path(c), "/a b");
    assert_text(hob_id(c), "id-1");
    assert_text(hob_client(c), "192.0.2.1");
    assert_text(hob_header(c, "X-TOKEN"), "secret");
    assert_null(hob_header(c, "X-Tok").data);
    assert_text(hob_body(c), "{}");
    assert_text(hob_query_text(c, "s"), "x y");
    assert_text(hob_query_text(c, "e"), "");
    assert_null(hob_query_text(c, "bad").data);
    assert_null(hob_query_text(c, "absent").data);
}

static void path_parameters_have_names(void **state) {
    (void)state;
    f.match.params[0] = (hob_param_match){"id", HOB_TEXT("7"), 7};
    f.match.params[1] = (hob_param_match){"name", HOB_TEXT("ada"), 0};
    f.match.param_count = 2;
    assert_int_equal(hob_path_int(c, "id"), 7);
    assert_text(hob_path_text(c, "id"), "7");
    assert_int_equal(hob_path_int(c, "name"), 0);
    assert_text(hob_path_text(c, "name"), "ada");
    assert_int_equal(hob_path_int(c, "other"), 0);
    assert_null(hob_path_text(c, "i").data);
}

static void integers_in_a_query_are_checked(void **state) {
    static const struct {
        const char *query;
        int status;
        int64_t value;
    } cases[] = {
        {"", 0, 42},       {"m=7", 0, 42},     {"n=1", 0, 1},      {"n=10", 0, 10},
        {"n=%31", 0, 1},   {"n=3&n=99", 0, 3}, {"n=0", 400, 42},   {"n=11", 400, 42},
        {"n=", 400, 42},   {"n", 400, 42},     {"n=1.0", 400, 42}, {"n=+1", 400, 42},
        {"n=1x", 400, 42}, {"n=%", 400, 42},   {"n=-1", 400, 42},  {"n=99999999999999999999", 400, 42},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 42;
        ask(cases[i].query);
        int status = hob_query_int(c, "n", 1, 10, &value);
        if (status != cases[i].status || value != cases[i].value)
            fail_msg("'%s': %d, %" PRId64, cases[i].query, status, value);
        assert_int_equal(f.response.status, status);
    }
    assert_contains(f.response.problem_detail, "n must be an integer from 1 to 10");
}

static void pages_have_a_limit_and_a_cursor(void **state) {
    static const struct {
        const char *query;
        int status;
        int64_t limit, after;
    } cases[] = {
        {"", 0, 20, 0},         {"limit=1", 0, 1, 0},    {"limit=100&after=9223372036854775807", 0, 100, INT64_MAX},
        {"after=1", 0, 20, 1},  {"limit=0", 400, 0, 0},  {"limit=101", 400, 0, 0},
        {"after=0", 400, 0, 0}, {"after=-1", 400, 0, 0}, {"after=x", 400, 0, 0},
        {"after=", 400, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hob_page page;
        ask(cases[i].query);
        assert_int_equal(hob_page_of(c, &page), cases[i].status);
        if (cases[i].status)
            continue;
        assert_int_equal(page.limit, cases[i].limit);
        assert_int_equal(page.after, cases[i].after);
    }
}

static void values_belong_to_their_keys(void **state) {
    static const char key, other;
    int one = 1, two = 2;
    (void)state;
    assert_null(hob_value(c, &key));
    assert_true(hob_set_value(c, &key, &one));
    assert_ptr_equal(hob_value(c, &key), &one);
    assert_null(hob_value(c, &other));
    assert_true(hob_set_value(c, &key, &two));
    assert_ptr_equal(hob_value(c, &key), &two);
}

static void a_branch_reads_its_parents_values_and_keeps_its_own(void **state) {
    static const char key, other;
    int one = 1, two = 2, three = 3;
    (void)state;
    assert_true(hob_set_value(c, &key, &one));
    hob_ctx branch = *c;
    branch.parent = c;
    assert_ptr_equal(hob_value(&branch, &key), &one);
    assert_true(hob_set_value(&branch, &key, &two));
    assert_ptr_equal(hob_value(&branch, &key), &two);
    assert_ptr_equal(hob_value(c, &key), &one);
    assert_true(hob_set_value(c, &other, &three));
    assert_ptr_equal(hob_value(&branch, &other), &three);
}

static int deferred;

static void count(void *arg) {
    deferred += *(int *)arg;
}

static void memory_is_the_requests(void **state) {
    static int one = 1;
    (void)state;
    char *block = hob_alloc(c, 10);
    assert_non_null(block);
    memset(block, 'x', 10);
    assert_text(hob_format(c, "%d-%s", 1, "a"), "1-a");
    assert_text(hob_copy(c, HOB_TEXT("copy")), "copy");
    assert_null(hob_copy(c, (hob_text){0}).data);
    deferred = 0;
    hob_defer(c, count, &one);
    assert_int_equal(deferred, 0);
    hob__arena_reset(f.arena);
    assert_int_equal(deferred, 1);
    hob__arena_fail(f.arena);
    hob_defer(c, count, &one);
    assert_int_equal(deferred, 2);
    assert_null(hob_alloc(c, 1));
    assert_false(hob_set_value(c, &deferred, &one));
}

static void answers(void **state) {
    (void)state;
    assert_int_equal(hob_reply(c, 202, "text/csv\r\nX-Evil: 1", HOB_TEXT("a,b")), 202);
    assert_text(f.response.content_type, "text/csvX-Evil: 1");
    assert_text(f.response.body, "a,b");
    assert_int_equal(hob_problem(c, 400, "bad"), 400);
    assert_int_equal(hob_no_content(c), 204);
    assert_null(f.response.body.data);
    assert_null(f.response.content_type.data);
    assert_null(f.response.problem_detail.data);
    json_object *tree = json_tokener_parse("{\"a\":[1,\"/\"]}");
    assert_int_equal(hob_json(c, 201, tree), 201);
    json_object_put(tree);
    assert_text(f.response.body, "{\"a\":[1,\"/\"]}");
    assert_text(f.response.content_type, "application/json");
}

static void headers_are_formatted(void **state) {
    (void)state;
    hob_set_header(c, "X-N", "%d%s", 5, "\r\n");
    assert_text(hob__response_header(&f.response, HOB_TEXT("x-n")), "5");
    hob_set_location(c, "/users/%d", 7);
    assert_text(hob__response_header(&f.response, HOB_TEXT("Location")), "/users/7");
    f.config.mount = "/app/";
    hob_set_location(c, "/users/%d", 8);
    assert_text(hob__response_header(&f.response, HOB_TEXT("Location")), "/app/users/8");
}

static void without_memory_nothing_breaks(void **state) {
    (void)state;
    hob__arena_fail(f.arena);
    hob_set_header(c, "X-N", "%d", 5);
    hob_set_location(c, "/users");
    assert_null(hob_format(c, "x").data);
    assert_int_equal(hob_json(c, 200, NULL), 200);
    assert_int_equal(hob__settle(c, 200), 503);
    assert_text(hob__response_header(&f.response, HOB_TEXT("X-Request-ID")), "id-1");
}

static void log_lines_carry_the_request_id(void **state) {
    char path[] = "/tmp/hob_ctx_test.XXXXXX", line[8192];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(hob__log_open(path, HOB_LOG_INFO));
    hob_log(c, HOB_LOG_DEBUG, "not this");
    hob_log(c, HOB_LOG_WARN, "tea is %s", "cold");
    assert_true(hob__log_open(NULL, HOB_LOG_ERROR));
    ssize_t size = read(fd, line, sizeof line);
    assert_true(size > 0);
    hob_text text = {line, (size_t)size};
    assert_contains(text, "\"level\":\"warn\"");
    assert_contains(text, "\"msg\":\"tea is cold\"");
    assert_contains(text, "\"request_id\":\"id-1\"");
    assert_null(memmem(line, (size_t)size, "not this", 8));
    close(fd);
    unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(tells_of_the_request),
        TEST(path_parameters_have_names),
        TEST(integers_in_a_query_are_checked),
        TEST(pages_have_a_limit_and_a_cursor),
        TEST(values_belong_to_their_keys),
        TEST(a_branch_reads_its_parents_values_and_keeps_its_own),
        TEST(memory_is_the_requests),
        TEST(answers),
        TEST(headers_are_formatted),
        TEST(without_memory_nothing_breaks),
        TEST(log_lines_carry_the_request_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
