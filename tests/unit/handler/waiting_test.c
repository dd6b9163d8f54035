/* Groups, semaphores, sleep and offload as a handler uses them, over a real PostgreSQL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

static const hob_query QUICK = HOB_READ("SELECT $1::bigint AS v");
static const hob_query SLEEP = HOB_READ("SELECT 1::bigint AS v FROM pg_sleep($1)");
static const hob_query WRONG = HOB_READ("SELECT (1 / $1::bigint) AS v");

static hob_semaphore *semaphore;
static int running, most, started, ended;

/* One query of several. */
typedef struct look_up {
    const hob_query *query;
    hob_param param;
    int64_t value;
} look_up;

static int look(hob_ctx *c, void *arg) {
    look_up *l = arg;
    started++;
    most = ++running > most ? running : most;
    hob_rows *rows = hob_db_query(c, l->query, l->param);
    int status = hob_rows_status(c, rows, NULL);
    l->value = hob_rows_int(rows, 0, "v");
    running--;
    ended++;
    return status;
}

static int answer_sum(hob_ctx *c, hob_group *group, const look_up *look_ups, size_t count) {
    int64_t sum = 0;
    int status = hob_group_wait(group);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        sum += look_ups[i].value;
    return hob_text_reply(c, 200, hob_format(c, "%" PRId64, sum));
}

/* What the last three-fold look-up cost. */
static hob_db_counters cost;

static int summary(hob_ctx *c) {
    look_up look_ups[] = {{&QUICK, hob_int(1), 0}, {&QUICK, hob_int(2), 0}, {&QUICK, hob_int(4), 0}};
    const hob_db_counters *counters = hob__db_counters(c->services->db);
    hob_db_counters before = *counters;
    hob_group *group = hob_group_new(c);
    for (size_t i = 0; i < COUNT(look_ups); i++)
        hob_group_go(group, look, &look_ups[i]);
    int status = answer_sum(c, group, look_ups, COUNT(look_ups));
    cost.queries = counters->queries - before.queries;
    cost.batches = counters->batches - before.batches;
    cost.syncs = counters->syncs - before.syncs;
    return status;
}

static int limited(hob_ctx *c) {
    look_up look_ups[10];
    hob_group *group = hob_group_new(c);
    hob_group_limit(group, 3);
    for (size_t i = 0; i < COUNT(look_ups); i++) {
        look_ups[i] = (look_up){&SLEEP, hob_double(0.01), 0};
        hob_group_go(group, look, &look_ups[i]);
    }
    return answer_sum(c, group, look_ups, COUNT(look_ups));
}

static int sleep_long(hob_ctx *c, void *arg) {
    (void)arg;
    int status = hob_sleep(c, 60000);
    ended++;
    return status;
}

static int refuse(hob_ctx *c, void *arg) {
    (void)arg;
    hob_set_header(c, "X-Branch", "two");
    return hob_problem(c, 418, "a teapot");
}

/* A query, a timer, a cache look-up that misses, and a failure: the failure is the answer, and ends the rest. */
static int miss(hob_ctx *c, void *arg) {
    return hob_cached(c, hob_key(c, "teapot"), 0, sleep_long, arg);
}

static int failing(hob_ctx *c) {
    look_up slow = {&SLEEP, hob_double(20), 0};
    hob_group *group = hob_group_new(c);
    hob_group_go(group, look, &slow);
    hob_group_go(group, sleep_long, NULL);
    hob_group_go(group, miss, NULL);
    int status = hob_sleep(c, 50);
    hob_group_go(group, refuse, NULL);
    hob_group_go(group, sleep_long, NULL);
    return status ? status : hob_group_wait(group);
}

static int failing_query(hob_ctx *c) {
    look_up look_ups[] = {{&SLEEP, hob_double(20), 0}, {&WRONG, hob_int(0), 0}};
    hob_group *group = hob_group_new(c);
    for (size_t i = 0; i < COUNT(look_ups); i++)
        hob_group_go(group, look, &look_ups[i]);
    return answer_sum(c, group, look_ups, COUNT(look_ups));
}

/* The answer's memory is the request's, its branches are cancelled behind its back. */
static int unwaited(hob_ctx *c) {
    hob_group *group = hob_group_new(c);
    hob_group_go(group, sleep_long, NULL);
    hob_group_go(group, sleep_long, NULL);
    return hob_text_reply(c, 200, HOB_TEXT("gone"));
}

static int inner_group(hob_ctx *c, void *arg) {
    (void)arg;
    hob_group *group = hob_group_new(c);
    hob_group_go(group, sleep_long, NULL);
    hob_group_go(group, sleep_long, NULL);
    return hob_group_wait(group);
}

static int nested(hob_ctx *c) {
    hob_group *group = hob_group_new(c);
    hob_group_go(group, inner_group, NULL);
    hob_group_go(group, inner_group, NULL);
    return hob_group_wait(group);
}

static int sleeping(hob_ctx *c) {
    int64_t ms = 1;
    int status = hob_query_int(c, "ms", 0, 100000, &ms);
    if (!status)
        status = hob_sleep(c, ms);
    return status ? status : hob_text_reply(c, 200, HOB_TEXT("slept"));
}

static int queue_up(hob_ctx *c, void *arg) {
    int64_t weight = *(int64_t *)arg;
    int status = hob_acquire(c, semaphore, weight);
    if (status)
        return status;
    *(int64_t *)arg = ++ended;
    status = hob_sleep(c, 5);
    hob_release(semaphore, weight);
    return status;
}

/* 2 of 3 are taken; 3 comes before 1, which would fit, so 1 waits behind it. */
static int queueing(hob_ctx *c) {
    int64_t weights[] = {2, 3, 1};
    hob_group *group = hob_group_new(c);
    for (size_t i = 0; i < COUNT(weights); i++)
        hob_group_go(group, queue_up, &weights[i]);
    int status = hob_group_wait(group);
    hob_text order = hob_format(c, "%d%d%d", (int)weights[0], (int)weights[1], (int)weights[2]);
    return status ? status : hob_text_reply(c, 200, order);
}

static int acquiring(hob_ctx *c) {
    int64_t weight = 1;
    int status = hob_query_int(c, "weight", 1, 100, &weight);
    if (!status)
        status = hob_acquire(c, semaphore, weight);
    if (status)
        return status;
    hob_release(semaphore, weight);
    return hob_text_reply(c, 200, HOB_TEXT("had it"));
}

static void square(void *arg) {
    *(int *)arg *= *(int *)arg;
}

static int offloading(hob_ctx *c) {
    int number = 7;
    int status = hob_offload(c, square, &number);
    return status ? status : hob_text_reply(c, 200, hob_format(c, "%d", number));
}

static int set_up(void **state) {
    (void)state;
    setenv("HOB_CACHE", "/nonexistent/memcached.sock", 1);
    running = most = started = ended = 0;
    semaphore = hob_semaphore_new(3);
    open_app();
    hob_get(app, "/summary", summary);
    hob_get(app, "/limited", limited);
    hob_get(app, "/failing", failing);
    hob_get(app, "/failing-query", failing_query);
    hob_get(app, "/unwaited", unwaited);
    hob_get(app, "/nested", nested);
    hob_get(app, "/sleep", sleeping);
    hob_get(app, "/queue", queueing);
    hob_get(app, "/acquire", acquiring);
    hob_get(app, "/offload", offloading);
    return 0;
}

static int tear_down(void **state) {
    free(semaphore);
    return close_app(state);
}

static void look_ups_of_a_group_are_one_batch(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) /* the first ones are not yet known to be quick */
        assert_answer("GET", "/summary", 200, "7");
    assert_int_equal(cost.queries, 3);
    assert_int_equal(cost.batches, 1);
    assert_int_equal(cost.syncs, 1);
}

static void a_limit_holds(void **state) {
    (void)state;
    assert_answer("GET", "/limited", 200, "10");
    assert_int_equal(most, 3);
    assert_int_equal(ended, 10);
}

static void the_first_failure_is_the_answer(void **state) {
    (void)state;
    int64_t began = hob__clock_ns();
    const hob_test_response *r = ask("GET", "/failing");
    assert_int_equal(hob_test_status(r), 418);
    assert_string_equal(hob_test_header_of(r, "X-Branch"), "two");
    assert_non_null(strstr(hob_test_body(r), "a teapot"));
    assert_int_equal(ended, 4);
    assert_answer("GET", "/failing-query", 422, NULL);
    assert_int_equal(running, 0);
    assert_true(hob__clock_ns() - began < 10 * HOB_S);
}

static void nothing_runs_on_after_its_request(void **state) {
    (void)state;
    assert_answer("GET", "/unwaited", 200, "gone");
    assert_answer("GET", "/sleep", 200, "slept"); /* before it, the last request's memory went */
    assert_int_equal(ended, 2);
}

static void a_deadline_ends_all_of_it(void **state) {
    (void)state;
    setenv("HOB_REQUEST_TIMEOUT", "200ms", 1);
    int64_t began = hob__clock_ns();
    assert_answer("GET", "/nested", 504, NULL);
    assert_int_equal(ended, 4);
    assert_answer("GET", "/sleep?ms=60000", 504, NULL);
    assert_answer("GET", "/sleep?ms=1", 200, "slept");
    assert_int_equal(hob_try_acquire(semaphore, 1), true);
    const hob_test_response *r = ask("GET", "/acquire?weight=3");
    assert_int_equal(hob_test_status(r), 503);
    assert_string_equal(hob_test_header_of(r, "Retry-After"), "1");
    assert_answer("GET", "/acquire?weight=2", 200, "had it");
    hob_release(semaphore, 1);
    assert_answer("GET", "/acquire?weight=3", 200, "had it");
    assert_true(hob__clock_ns() - began < 10 * HOB_S);
}

static void a_semaphore_is_first_come_first_served(void **state) {
    (void)state;
    assert_answer("GET", "/queue", 200, "123");
    assert_answer("GET", "/acquire?weight=4", 503, NULL); /* more than there is */
}

static void work_that_blocks_goes_elsewhere(void **state) {
    (void)state;
    assert_answer("GET", "/offload", 200, "49");
}

/* Functions accept what another returned, memory or not. */
static void without_memory(void **state) {
    (void)state;
    hob_group_limit(NULL, 1);
    hob_group_go(NULL, look, NULL);
    assert_int_equal(hob_group_wait(NULL), 503);
    assert_false(hob_try_acquire(NULL, 1));
    hob_release(NULL, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(look_ups_of_a_group_are_one_batch), TEST(a_limit_holds),
        TEST(the_first_failure_is_the_answer),   TEST(nothing_runs_on_after_its_request),
        TEST(a_deadline_ends_all_of_it),         TEST(a_semaphore_is_first_come_first_served),
        TEST(work_that_blocks_goes_elsewhere),   TEST(without_memory),
    };
    return cmocka_run_group_tests(tests, create_database, NULL);
}
