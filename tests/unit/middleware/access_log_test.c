#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../http/fixture.h"
#include "base/log.h"

static fixture f;
static char path[] = "/tmp/hob_access_log_test.XXXXXX";
static int fd;

static int open_log(void **state) {
    (void)state;
    fd = mkstemp(path);
    return fd >= 0 && hob__log_open(path, HOB_LOG_INFO) ? 0 : -1;
}

static int close_log(void **state) {
    (void)state;
    bool good = hob__log_open(NULL, HOB_LOG_INFO);
    close(fd);
    unlink(path);
    return good ? 0 : -1;
}

/* The line written since the last call, to be put; NULL: none. */
static json_object *logged(void) {
    char bytes[2 * HOB_LOG_LINE];
    ssize_t size = read(fd, bytes, sizeof bytes - 1);
    assert_true(size >= 0);
    if (size == 0)
        return NULL;
    bytes[size] = '\0';
    assert_ptr_equal(strchr(bytes, '\n'), bytes + size - 1); /* one line */
    json_object *line = json_tokener_parse(bytes);
    assert_non_null(line);
    return line;
}

static const char *text_of(json_object *line, const char *key) {
    json_object *value;
    return json_object_object_get_ex(line, key, &value) ? json_object_get_string(value) : NULL;
}

static int64_t int_of(json_object *line, const char *key) {
    json_object *value;
    assert_true(json_object_object_get_ex(line, key, &value));
    assert_int_equal(json_object_get_type(value), json_type_int);
    return json_object_get_int64(value);
}

static int status_to_answer;

static int handler(hob_ctx *c) {
    if (status_to_answer >= 400)
        return hob_problem(c, status_to_answer, "because");
    return hob_text_reply(c, status_to_answer, HOB_TEXT("hello"));
}

static json_object *serve(int status) {
    static const hob_route_info route = {.pattern = "/users/{id:int}"};
    f.match.route = &route;
    f.request.id = HOB_TEXT("id-1");
    status_to_answer = status;
    size_t used = hob__arena_used(f.arena);
    hob_chain chain = {.rest = (hob_middleware *const[]){NULL}, .handler = handler};
    assert_int_equal(hob_access_log(&f.ctx, &chain), status);
    if (status < 400)
        assert_int_equal(hob__arena_used(f.arena), used); /* it allocates nothing */
    return logged();
}

static void one_line_tells_all(void **state) {
    (void)state;
    fixture_begin(
        &f, (char *[]){"REQUEST_METHOD=GET", "REQUEST_URI=/users/7%20?token=secret", "REMOTE_ADDR=192.0.2.1", NULL});
    f.request.started = hob__clock_ns() - 5 * HOB_MS;
    json_object *line = serve(200);
    assert_string_equal(text_of(line, "msg"), "request");
    assert_string_equal(text_of(line, "level"), "info");
    assert_string_equal(text_of(line, "request_id"), "id-1");
    assert_string_equal(text_of(line, "method"), "GET");
    assert_string_equal(text_of(line, "path"), "/users/7%20");
    assert_string_equal(text_of(line, "route"), "/users/{id:int}");
    assert_string_equal(text_of(line, "client"), "192.0.2.1");
    assert_int_equal(int_of(line, "status"), 200);
    assert_int_equal(int_of(line, "bytes"), 5);
    assert_true(int_of(line, "duration_us") >= 5000);
    assert_null(text_of(line, "detail"));
    json_object_put(line);
    fixture_end(&f);
}

static void the_level_follows_the_status(void **state) {
    static const struct {
        int status;
        const char *level;
    } cases[] = {{204, "info"}, {404, "info"}, {499, "info"}, {500, "error"}, {503, "warn"}, {504, "warn"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_get(&f, "/a");
        json_object *line = serve(cases[i].status);
        assert_int_equal(int_of(line, "status"), cases[i].status);
        assert_string_equal(text_of(line, "level"), cases[i].level);
        if (cases[i].status >= 400)
            assert_string_equal(text_of(line, "detail"), "because");
        json_object_put(line);
        fixture_end(&f);
    }
}

static void a_level_that_is_off_writes_nothing(void **state) {
    (void)state;
    assert_true(hob__log_open(path, HOB_LOG_ERROR));
    fixture_get(&f, "/a");
    assert_null(serve(200));
    assert_null(serve(503));
    json_object *line = serve(500);
    assert_non_null(line);
    json_object_put(line);
    fixture_end(&f);
    assert_true(hob__log_open(path, HOB_LOG_INFO));
}

static void bytes_are_those_sent(void **state) {
    (void)state;
    fixture_begin(&f, (char *[]){"REQUEST_METHOD=HEAD", "REQUEST_URI=/a", NULL});
    json_object *line = serve(200);
    assert_int_equal(int_of(line, "bytes"), 0);
    assert_true(int_of(line, "duration_us") >= 0); /* the front has not said when it started */
    json_object_put(line);
    fixture_end(&f);
}

static void a_long_path_hides_nothing(void **state) {
    static char uri[3 * HOB_LOG_LINE] = "REQUEST_URI=/";
    (void)state;
    memset(uri + 13, 'x', sizeof uri - 14);
    fixture_begin(&f, (char *[]){"REQUEST_METHOD=GET", uri, "REMOTE_ADDR=192.0.2.1", NULL});
    json_object *line = serve(200);
    assert_int_equal(int_of(line, "status"), 200);
    assert_string_equal(text_of(line, "client"), "192.0.2.1");
    assert_true(strlen(text_of(line, "path")) > 1000);
    json_object_put(line);
    fixture_end(&f);
}

static void a_path_cannot_forge_a_line(void **state) {
    (void)state;
    fixture_begin(&f, (char *[]){"REQUEST_METHOD=GET", "REQUEST_URI=/\"}\n{\"msg\":\"forged\xff", NULL});
    json_object *line = serve(200);
    assert_string_equal(text_of(line, "msg"), "request");
    assert_string_equal(text_of(line, "path"), "/\"}\n{\"msg\":\"forged\xef\xbf\xbd");
    json_object_put(line);
    fixture_end(&f);
}

static void without_a_target_the_path_is_told(void **state) {
    (void)state;
    fixture_begin(&f, (char *[]){"REQUEST_METHOD=GET", "SCRIPT_NAME=/app", "PATH_INFO=/x", NULL});
    json_object *line = serve(200);
    assert_string_equal(text_of(line, "path"), "/app/x");
    json_object_put(line);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_tells_all),
        cmocka_unit_test(the_level_follows_the_status),
        cmocka_unit_test(a_level_that_is_off_writes_nothing),
        cmocka_unit_test(bytes_are_those_sent),
        cmocka_unit_test(a_long_path_hides_nothing),
        cmocka_unit_test(a_path_cannot_forge_a_line),
        cmocka_unit_test(without_a_target_the_path_is_told),
    };
    return cmocka_run_group_tests(tests, open_log, close_log);
}
