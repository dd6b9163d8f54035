/* Queries and transactions as a handler sees them, against a real PostgreSQL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"

static const hob_query INSERT = HOB_WRITE("INSERT INTO item (id) VALUES ($1) RETURNING id");
static const hob_query FAIL = HOB_READ("SELECT fail($1)");
static const hob_field FIELDS[] = {{.name = "id", .type = HOB_INT, .unique = "item_pkey"}, {0}};

/* What the transaction under test does; set by the test. */
static struct {
    hob_tx_options options;
    const char *sqlstate; /* of the failure */
    int failures;         /* attempts that fail before one succeeds */
    int status;           /* that fn then returns */
    bool careless;        /* fn ignores what the query says */
    int attempts;
} plan;

static int count_items(void) {
    return (int)strtol(server_sql("SELECT count(*) FROM item"), NULL, 10);
}

static int work(hob_ctx *c, void *arg) {
    (void)arg;
    int status = hob_rows_status(c, hob_db_query(c, &INSERT, hob_int(1)), FIELDS);
    if (status)
        return status;
    hob_set_header(c, "X-Attempt", "%d", ++plan.attempts);
    if (plan.attempts <= plan.failures) {
        status = hob_rows_status(c, hob_db_query(c, &FAIL, hob_str(hob_text_of(plan.sqlstate))), NULL);
        return plan.careless ? 0 : status;
    }
    return plan.status >= 400 ? hob_problem(c, plan.status, "as planned") : plan.status;
}

static int run(hob_ctx *c) {
    hob_set_header(c, "X-Before", "kept");
    int status = hob_db_tx(c, plan.options, work, NULL);
    return status >= 400 ? status : hob_text_reply(c, 201, HOB_TEXT("done"));
}

static const hob_test_response *run_plan(void) {
    server_sql("DELETE FROM item");
    plan.attempts = 0;
    return ask("POST", "/run");
}

static int show(hob_ctx *c, void *arg) {
    static const hob_query settings = HOB_READ(
        "SELECT current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only') AS v");
    hob_rows *rows = hob_db_query(c, &settings);
    int status = hob_rows_status(c, rows, NULL);
    *(hob_text *)arg = hob_rows_text(rows, 0, "v");
    return status;
}

static int show_options(hob_ctx *c) {
    hob_text shown = {0};
    int status = hob_db_tx(c, plan.options, show, &shown);
    return status ? status : hob_text_reply(c, 200, shown);
}

static int nothing(hob_ctx *c, void *arg) {
    (void)c, (void)arg;
    return 204;
}

static int nested(hob_ctx *c, void *arg) {
    (void)arg;
    return hob_db_tx(c, (hob_tx_options){0}, nothing, NULL);
}

static int run_nested(hob_ctx *c) {
    return hob_db_tx(c, (hob_tx_options){0}, nested, NULL);
}

/* fn's own status comes back. */
static int run_nothing(hob_ctx *c) {
    int status = hob_db_tx(c, (hob_tx_options){0}, nothing, NULL);
    return status == 204 ? hob_no_content(c) : status;
}

static const char *sql_of(hob_ctx *c) {
    return hob_copy(c, hob_query_text(c, "sql")).data;
}

static int read_sql(hob_ctx *c) {
    hob_query query = HOB_READ(sql_of(c));
    hob_rows *rows = hob_db_query(c, &query);
    int status = hob_rows_status(c, rows, NULL);
    return status ? status : hob_text_reply(c, 200, hob_rows_text(rows, 0, "v"));
}

static int write_sql(hob_ctx *c) {
    hob_query query = HOB_WRITE(sql_of(c));
    int status = hob_rows_status(c, hob_db_query(c, &query), NULL);
    return status ? status : hob_no_content(c);
}

static int set_up(void **state) {
    (void)state;
    memset(&plan, 0, sizeof plan);
    open_app();
    hob_post(app, "/run", run);
    hob_get(app, "/options", show_options);
    hob_get(app, "/nested", run_nested);
    hob_get(app, "/nothing", run_nothing);
    hob_get(app, "/read", read_sql);
    hob_post(app, "/write", write_sql);
    return 0;
}

static int create(void **state) {
    if (create_database(state))
        return -1;
    server_sql("CREATE TABLE item (id int PRIMARY KEY);"
               "CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS "
               "'BEGIN RAISE EXCEPTION ''as planned'' USING ERRCODE = state; END'");
    return 0;
}

/* ---- Commit and rollback ---- */

static void what_fn_returns_decides(void **state) {
    (void)state;
    static const struct {
        int status, answer, items;
    } cases[] = {{0, 201, 1}, {200, 201, 1}, {399, 201, 1}, {400, 400, 0}, {404, 404, 0}, {503, 503, 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        plan.status = cases[i].status;
        assert_int_equal(hob_test_status(run_plan()), cases[i].answer);
        assert_int_equal(count_items(), cases[i].items);
        assert_int_equal(plan.attempts, 1);
    }
    assert_answer("GET", "/nothing", 204, "");
}

static void a_failure_that_fn_ignores_is_none_the_less_one(void **state) {
    (void)state;
    plan.sqlstate = "22000";
    plan.failures = 1;
    plan.careless = true;
    const hob_test_response *r = run_plan();
    assert_int_equal(hob_test_status(r), 422);
    assert_null(hob_test_header_of(r, "X-Attempt"));
    assert_string_equal(hob_test_header_of(r, "X-Before"), "kept");
    assert_int_equal(count_items(), 0);
}

/* ---- Once more ---- */

static void conflicts_are_tried_again_and_leave_no_trace(void **state) {
    (void)state;
    static const char *const sqlstates[] = {"40001", "40P01"};
    for (size_t i = 0; i < COUNT(sqlstates); i++) {
        plan.sqlstate = sqlstates[i];
        for (plan.failures = 1; plan.failures <= 2; plan.failures++) {
            const hob_test_response *r = run_plan();
            assert_int_equal(hob_test_status(r), 201);
            assert_int_equal(plan.attempts, plan.failures + 1);
            assert_int_equal(count_items(), 1);
            assert_null(hob_test_header_of(r, "Retry-After"));
            assert_string_equal(hob_test_header_of(r, "X-Before"), "kept");
            assert_int_equal(*hob_test_header_of(r, "X-Attempt"), '0' + plan.attempts);
        }
    }
}

static void the_third_conflict_is_the_answer(void **state) {
    (void)state;
    plan.sqlstate = "40001";
    plan.failures = 99;
    for (int i = 0; i < 2; i++, plan.careless = true) {
        const hob_test_response *r = run_plan();
        assert_int_equal(hob_test_status(r), 503);
        assert_string_equal(hob_test_header_of(r, "Retry-After"), "1");
        assert_null(hob_test_header_of(r, "X-Attempt"));
        assert_int_equal(plan.attempts, 3);
        assert_int_equal(count_items(), 0);
    }
}

static void nothing_else_is_tried_again(void **state) {
    (void)state;
    static const struct {
        const char *sqlstate;
        int status;
    } cases[] = {{"23505", 409}, {"23514", 422}, {"57014", 504}, {"55P03", 504}, {"XX000", 500}, {"25006", 503}};
    plan.failures = 1;
    for (size_t i = 0; i < COUNT(cases); i++) {
        plan.sqlstate = cases[i].sqlstate;
        assert_int_equal(hob_test_status(run_plan()), cases[i].status);
        assert_int_equal(plan.attempts, 1);
        assert_int_equal(count_items(), 0);
    }
}

static void a_stale_plan_in_a_transaction_is_prepared_anew(void **state) {
    (void)state;
    (void)run_plan();
    (void)run_plan();
    server_sql("ALTER TABLE item ALTER id TYPE bigint");
    assert_int_equal(hob_test_status(run_plan()), 201);
    server_sql("ALTER TABLE item ALTER id TYPE int");
}

/* ---- Options ---- */

static void options_reach_the_server(void **state) {
    (void)state;
    static const struct {
        hob_tx_options options;
        const char *shown;
    } cases[] = {{{HOB_TX_DEFAULT, false}, "read committed off"},
                 {{HOB_TX_REPEATABLE_READ, true}, "repeatable read on"},
                 {{HOB_TX_SERIALIZABLE, false}, "serializable off"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        plan.options = cases[i].options;
        assert_answer("GET", "/options", 200, cases[i].shown);
    }
    assert_answer("GET", "/nested", 500, NULL);
}

/* ---- Outcomes that are known, and one that is not ---- */

/* A trigger ends the session at COMMIT. */
static void a_commit_without_answer_is_unknown(void **state) {
    (void)state;
    server_sql("CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS "
               "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';"
               "CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
               "FOR EACH ROW EXECUTE FUNCTION leave()");
    const hob_test_response *r = run_plan();
    server_sql("DROP TRIGGER leave ON item; DROP FUNCTION leave");
    assert_int_equal(hob_test_status(r), 503);
    assert_non_null(strstr(hob_test_body(r), "\"type\":\"urn:hob:outcome-unknown\",\"title\":\"Outcome Unknown\""));
    assert_null(hob_test_header_of(r, "Retry-After"));
    assert_null(hob_test_header_of(r, "X-Attempt"));
    assert_int_equal(plan.attempts, 1);
}

/* The server said that it ends the session, before the statement had ended: it surely did nothing. */
static void a_write_that_was_surely_not_done(void **state) {
    (void)state;
    static const char target[] = "/write?sql=WITH+i+AS+(INSERT+INTO+item+VALUES+(7)+RETURNING+id)"
                                 "+SELECT+pg_terminate_backend(pg_backend_pid())+FROM+i";
    server_sql("DELETE FROM item");
    const hob_test_response *r = ask("POST", target);
    assert_int_equal(hob_test_status(r), 503);
    assert_string_equal(hob_test_header_of(r, "Retry-After"), "1");
    assert_non_null(strstr(hob_test_body(r), "about:blank"));
    assert_int_equal(count_items(), 0);
}

static void a_deadline_bounds_the_query(void **state) {
    (void)state;
    setenv("HOB_REQUEST_TIMEOUT", "300ms", 1);
    assert_answer("GET", "/read?sql=SELECT+'warm'+AS+v", 200, "warm");
    int64_t began = hob__clock_ns();
    assert_answer("GET", "/read?sql=SELECT+pg_sleep(20)", 504, NULL);
    assert_answer("POST", "/write?sql=SELECT+pg_sleep(20)", 504, NULL);
    assert_true(hob__clock_ns() - began < 10 * HOB_S);
    assert_answer("GET", "/read?sql=SELECT+'still'+AS+v", 200, "still");
}

static void without_a_database(void **state) {
    (void)state;
    unsetenv("DATABASE_URL");
    const hob_test_response *r = ask("GET", "/read?sql=SELECT+1");
    assert_int_equal(hob_test_status(r), 503);
    assert_int_equal(hob_test_status(run_plan()), 503);
    setenv("DATABASE_URL", server.url, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_app)
    const struct CMUnitTest tests[] = {
        TEST(what_fn_returns_decides),
        TEST(a_failure_that_fn_ignores_is_none_the_less_one),
        TEST(conflicts_are_tried_again_and_leave_no_trace),
        TEST(the_third_conflict_is_the_answer),
        TEST(nothing_else_is_tried_again),
        TEST(a_stale_plan_in_a_transaction_is_prepared_anew),
        TEST(options_reach_the_server),
        TEST(a_commit_without_answer_is_unknown),
        TEST(a_write_that_was_surely_not_done),
        TEST(a_deadline_bounds_the_query),
        TEST(without_a_database),
    };
    return cmocka_run_group_tests(tests, create, NULL);
}
