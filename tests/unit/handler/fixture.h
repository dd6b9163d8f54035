/* An application over a private PostgreSQL, asked in-process. */
#ifndef TESTS_UNIT_HANDLER_FIXTURE_H
#define TESTS_UNIT_HANDLER_FIXTURE_H

#include "../data/postgres.h"
#include "handler/services.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static hob_app *app;

/* Settings are read with the first request, so a test may still set some. */
static inline void open_app(void) {
    app = hob_new("handler-test");
    assert_non_null(app);
    hob_use(app, hob_request_id, hob_recover, hob_deadline);
}

static inline int close_app(void **state) {
    (void)state;
    hob_test_end(app);
    assert_int_equal(hob__fiber_count().live, 0);
    unsetenv("HOB_REQUEST_TIMEOUT");
    return 0;
}

static inline int create_database(void **state) {
    (void)state;
    server_create();
    setenv("DATABASE_URL", server.url, 1);
    setenv("HOB_LOG", getenv("HOB_TEST_LOG") ? getenv("HOB_TEST_LOG") : "/dev/null", 1);
    return 0;
}

static inline const hob_test_response *ask(const char *method, const char *target) {
    return hob_test_request(app, method, target, strcmp(method, "POST") == 0 ? "{}" : NULL);
}

static inline void assert_answer(const char *method, const char *target, int status, const char *body) {
    const hob_test_response *r = ask(method, target);
    if (hob_test_status(r) != status)
        fail_msg("%s %s: %d %s", method, target, hob_test_status(r), hob_test_body(r));
    if (body)
        assert_string_equal(hob_test_body(r), body);
}

#endif
