/* hob_cached, hob_cached_on and hob_forget, through an application and a memcached of the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../data/cache_fixture.h"

#include "http/ctx.h"

static hob_app *app;
static int loads;   /* since the test's begin */
static int failing; /* so many more of them answer 503 */
static int load_ms;

static int load(hob_ctx *c, void *arg) {
    (void)arg;
    int n = ++loads;
    if (load_ms && hob_sleep(c, load_ms) != 0)
        return hob_problem(c, 504, "too late");
    if (failing && failing--)
        return hob_unavailable(c, 1, "not now");
    return hob_reply(c, 200, "application/json", hob_format(c, "%d", n));
}

static int load_nothing(hob_ctx *c, void *arg) {
    (void)arg;
    loads++;
    return hob_not_found(c, "no \"thing\" %d", 7);
}

static int load_nothing_lasting(hob_ctx *c, void *arg) {
    hob_no_store(c);
    return load_nothing(c, arg);
}

static hob_text key_of(hob_ctx *c) {
    return hob_query_text(c, "key");
}

static int get_value(hob_ctx *c) {
    return hob_cached(c, key_of(c), 0, load, NULL);
}

static int get_nothing(hob_ctx *c) {
    return hob_cached(c, key_of(c), 0, load_nothing, NULL);
}

static int get_nothing_lasting(hob_ctx *c) {
    return hob_cached(c, key_of(c), 0, load_nothing_lasting, NULL);
}

static int get_summary(hob_ctx *c) {
    const hob_text entities[] = {HOB_TEXT("x"), HOB_TEXT("y")};
    return hob_cached_on(c, HOB_TEXT("list"), entities, 2, 0, load, NULL);
}

static int get_too_many(hob_ctx *c) {
    hob_text entities[HOB_CACHE_ENTITIES_MAX + 1];
    for (size_t i = 0; i <= HOB_CACHE_ENTITIES_MAX; i++)
        entities[i] = HOB_TEXT("x");
    return hob_cached_on(c, HOB_TEXT("many"), entities, HOB_CACHE_ENTITIES_MAX + 1, 0, load, NULL);
}

static int write_it(hob_ctx *c) {
    int64_t status = 204;
    hob_forget(c, key_of(c));
    int fault = hob_query_int(c, "status", 200, 599, &status);
    if (fault)
        return fault;
    return status == 204 ? hob_no_content(c) : hob_problem(c, (int)status, "as you asked");
}

typedef struct reader {
    int after_ms;
    int status;
    hob_text body; /* borrowed from the request */
} reader;

static int read_one(hob_ctx *c, void *arg) {
    reader *r = arg;
    if (r->after_ms && hob_sleep(c, r->after_ms) != 0)
        return 504;
    r->status = hob_cached(c, HOB_TEXT("crowd"), 0, load, NULL);
    r->body = c->response->body;
    return 0;
}

#define CROWD 20
static char seen[CROWD][64]; /* status and body of each */

/* One reader at once, the others `later=` ms behind it. */
static int crowd(hob_ctx *c) {
    reader readers[CROWD];
    int64_t later = 0;
    hob_group *all = hob_group_new(c);
    if (hob_query_int(c, "later", 0, 1000, &later) != 0)
        return 400;
    for (int i = 0; i < CROWD; i++) {
        readers[i] = (reader){.after_ms = i ? (int)later : 0};
        hob_group_go(all, read_one, &readers[i]);
    }
    int status = hob_group_wait(all);
    for (int i = 0; i < CROWD; i++)
        snprintf(seen[i], sizeof seen[i], "%d " HOB_FMT, readers[i].status, HOB_ARG(readers[i].body));
    return status ? status : hob_no_content(c);
}

static int ask(const char *method, const char *target) {
    return hob_test_status(hob_test_request(app, method, target, NULL));
}

static void expect(const char *target, int status, const char *body) {
    const hob_test_response *r = hob_test_request(app, "GET", target, NULL);
    assert_int_equal(hob_test_status(r), status);
    if (body)
        assert_string_equal(hob_test_body(r), body);
}

/* Till the cache is there, and what was kept last is in it. */
static void settle(const char *target) {
    int64_t end = hob__clock_ns() + PATIENCE;
    for (int before = -1; before != loads;) {
        assert_true(hob__clock_ns() < end);
        usleep(5000);
        (void)ask("GET", target);
        before = loads;
        usleep(5000);
        (void)ask("GET", target);
    }
    loads = 0;
}

static int open_app(void **state) {
    (void)state;
    server_kill(&servers[0]);
    server_start(&servers[0]);
    setenv("HOB_CACHE", servers[0].path, 1);
    setenv("HOB_CACHE_TIMEOUT", "100ms", 1);
    setenv("HOB_LOG", getenv("TEST_LOG") ? getenv("TEST_LOG") : "/dev/null", 1);
    app = hob_new("cached-test");
    hob_use(app, hob_request_id, hob_deadline);
    hob_get(app, "/value", get_value);
    hob_get(app, "/nothing", get_nothing);
    hob_get(app, "/nothing-lasting", get_nothing_lasting);
    hob_get(app, "/list", get_summary);
    hob_get(app, "/too-many", get_too_many);
    hob_get(app, "/crowd", crowd);
    hob_post(app, "/write", write_it);
    loads = failing = load_ms = 0;
    settle("/value?key=set-up");
    return 0;
}

static int open_without_negative(void **state) {
    setenv("HOB_CACHE_NEGATIVE_TTL", "0s", 1);
    return open_app(state);
}

static int open_with_short_negative(void **state) {
    setenv("HOB_CACHE_NEGATIVE_TTL", "1s", 1);
    return open_app(state);
}

static int close_app(void **state) {
    (void)state;
    hob_test_end(app);
    unsetenv("HOB_CACHE_NEGATIVE_TTL");
    return 0;
}

static void a_value_is_loaded_once_and_after_each_write(void **state) {
    (void)state;
    settle("/value?key=a");
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask("GET", "/value?key=a"), 200);
    assert_int_equal(loads, 0);
    assert_int_equal(ask("POST", "/write?key=a"), 204);
    expect("/value?key=a", 200, "1");
    assert_int_equal(ask("GET", "/value?key=not%20a%20key"), 200); /* loads, each time */
    assert_int_equal(loads, 2);
}

/* It may have been committed all the same, a moment later: readers keep nothing until that is out of the question. */
static void a_write_that_timed_out_leaves_its_tombstone(void **state) {
    (void)state;
    settle("/value?key=a");
    assert_int_equal(ask("POST", "/write?key=a&status=409"), 409);
    settle("/value?key=a");
    assert_int_equal(ask("POST", "/write?key=a&status=504"), 504);
    for (int i = 1; i <= 5; i++) {
        (void)ask("GET", "/value?key=a");
        usleep(5000);
        assert_int_equal(loads, i);
    }
}

static void an_absence_is_a_new_404_each_time(void **state) {
    (void)state;
    settle("/nothing?key=a");
    char first[200];
    const hob_test_response *r = hob_test_request(app, "GET", "/nothing?key=a", NULL);
    snprintf(first, sizeof first, "%s", hob_test_body(r));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hob_test_status(r), 404);
        assert_string_equal(hob_test_header_of(r, "content-type"), "application/problem+json");
        assert_non_null(strstr(hob_test_body(r), "\"detail\":\"no \\\"thing\\\" 7\""));
        assert_non_null(strstr(hob_test_body(r), hob_test_header_of(r, "x-request-id")));
        r = hob_test_request(app, "GET", "/nothing?key=a", NULL);
    }
    assert_string_not_equal(first, hob_test_body(r));
    assert_int_equal(loads, 0);
    assert_int_equal(ask("POST", "/write?key=a"), 204); /* somebody makes it */
    expect("/value?key=a", 200, "1");
}

static void an_absence_is_not_kept_for_long(void **state) {
    (void)state;
    settle("/nothing?key=a");
    usleep(2100000);
    assert_int_equal(ask("GET", "/nothing?key=a"), 404);
    assert_int_equal(loads, 1);
}

static void an_absence_is_not_kept_when_told_so(void **state) {
    (void)state;
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(ask("GET", "/nothing?key=a"), 404);
        usleep(5000);
        assert_int_equal(loads, i);
    }
}

/* And what was kept under the key before is of no concern to it. */
static void an_answer_is_not_kept_when_load_says_so(void **state) {
    (void)state;
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(ask("GET", "/nothing-lasting?key=a"), 404);
        usleep(5000);
        assert_int_equal(loads, i);
    }
    settle("/value?key=a");
    assert_int_equal(ask("GET", "/nothing-lasting?key=a"), 200);
}

static void a_list_follows_its_entities(void **state) {
    (void)state;
    const char *entities[] = {"x", "y", "list"};
    for (size_t i = 0; i < 3; i++) {
        char target[32];
        settle("/list");
        assert_int_equal(ask("GET", "/list"), 200);
        assert_int_equal(loads, 0);
        snprintf(target, sizeof target, "/write?key=%s", entities[i]);
        assert_int_equal(ask("POST", target), 204);
        expect("/list", 200, "1");
    }
    loads = 0;
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(ask("GET", "/too-many"), 200);
        assert_int_equal(loads, i);
    }
}

static void those_of_one_turn_share_a_load(void **state) {
    (void)state;
    load_ms = 20;
    assert_int_equal(ask("GET", "/crowd"), 204);
    assert_int_equal(loads, 1);
    for (int i = 0; i < CROWD; i++)
        assert_string_equal(seen[i], "200 1");
}

/* Without a lease to be had. Whoever came when the first load was under way must not have what it brings, but one more
 * load is enough for them all. */
static void latecomers_share_the_next_load(void **state) {
    (void)state;
    char envelope[128];
    hob_cache_entry entry = {.kind = HOB_CACHE_TOMBSTONE, .id = 1};
    hob_text key = HOB_TEXT("cached-test:crowd");
    hob__cache_value_write(envelope, &entry, key);
    raw_set(key.data, envelope, hob__cache_value_size(&entry, key));
    load_ms = 300;
    assert_int_equal(ask("GET", "/crowd?later=50"), 204);
    assert_int_equal(loads, 2);
    assert_string_equal(seen[0], "200 1");
    for (int i = 1; i < CROWD; i++)
        assert_string_equal(seen[i], "200 2");
}

/* A failure is the leader's own; the others try by themselves. */
static void a_failure_is_not_shared(void **state) {
    (void)state;
    failing = 1;
    assert_int_equal(ask("GET", "/crowd"), 204);
    int failed = 0;
    for (int i = 0; i < CROWD; i++)
        failed += strncmp(seen[i], "503 ", 4) == 0;
    assert_int_equal(failed, 1);
    assert_true(loads > 1);
}

static void without_the_server_all_is_loaded(void **state) {
    (void)state;
    settle("/value?key=a");
    server_kill(&servers[0]);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(ask("GET", "/value?key=a"), 200);
        assert_int_equal(loads, i);
    }
    assert_int_equal(ask("POST", "/write?key=a"), 204);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_app, close_app)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_value_is_loaded_once_and_after_each_write),
        TEST(a_write_that_timed_out_leaves_its_tombstone),
        TEST(an_absence_is_a_new_404_each_time),
        cmocka_unit_test_setup_teardown(an_absence_is_not_kept_for_long, open_with_short_negative, close_app),
        cmocka_unit_test_setup_teardown(an_absence_is_not_kept_when_told_so, open_without_negative, close_app),
        TEST(an_answer_is_not_kept_when_load_says_so),
        TEST(a_list_follows_its_entities),
        TEST(those_of_one_turn_share_a_load),
        TEST(latecomers_share_the_next_load),
        TEST(a_failure_is_not_shared),
        TEST(without_the_server_all_is_loaded),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
