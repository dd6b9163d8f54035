/* Queries against a real PostgreSQL: values, batches, statements, the pool. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "db_harness.h"

static const hob_query QUICK = HOB_READ("SELECT 'quick'");
static const hob_query DIVIDE = HOB_READ("SELECT (6 / $1)::text");
static const hob_query WRITE_ITEM = HOB_WRITE("INSERT INTO item (id, name) VALUES ($1, $2) RETURNING name");

static hob_db_counters counters;

static void remember_counters(void) {
    counters = *hob__db_counters(db);
}

#define SINCE(counter) (hob__db_counters(db)->counter - counters.counter)

static actor *ask_quick(void) {
    return ask_within(20000, QUICK, NULL, 0);
}

/* ---- Values ---- */

static void parameters_arrive(void **state) {
    (void)state;
    static const int64_t ints[] = {7, -8, INT64_MAX};
    static const bool bools[] = {true, false};
    static const double doubles[] = {0.1, -1e300};
    static const int64_t times[] = {1764021563000001, -1};
    static const hob_text uuids[] = {{"0190A2F0-0000-7000-8000-00000000abcd", 36}, {NULL, 0}};
    static const hob_text byteas[] = {{"\0\xff'", 3}, {"", 0}, {NULL, 0}};
    static const hob_text texts[] = {{"a,b", 3}, {NULL, 0}, {"\"{", 2}, {"", 0}};
    const struct {
        const char *sql;
        hob_param param;
        const char *expected;
    } cases[] = {
        {"SELECT $1::text", hob_int(-42), "-42"},
        {"SELECT name FROM item WHERE id = $1", hob_int(1), "one"}, /* an int4 column */
        {"SELECT (size + $1)::text FROM item", hob_int(1), "12"},
        {"SELECT id::text FROM item WHERE name = $1", hob_str(HOB_TEXT("one")), "1"}, /* varchar */
        {"SELECT $1::uuid::text", hob_str(HOB_TEXT("0190A2F0-0000-7000-8000-000000000000")),
         "0190a2f0-0000-7000-8000-000000000000"},
        {"SELECT $1::jsonb ->> 'a'", hob_str(HOB_TEXT("{\"a\": \"b\"}")), "b"},
        {"SELECT $1::text", hob_str(HOB_TEXT("")), ""},
        {"SELECT ($1::text IS NULL)::text", hob_str((hob_text){0}), "true"},
        {"SELECT ($1::bigint IS NULL)::text", hob_null(), "true"},
        {"SELECT $1::text", hob_bool(true), "true"},
        {"SELECT $1::text", hob_double(0.1), "0.1"},
        {"SELECT ($1 AT TIME ZONE 'UTC')::text", hob_time(1764021563000001), "2025-11-24 21:59:23.000001"},
        {"SELECT ($1 AT TIME ZONE 'UTC')::text", hob_time(-1), "1969-12-31 23:59:59.999999"},
        {"SELECT $1::text", hob_ints(ints, 3), "{7,-8,9223372036854775807}"},
        {"SELECT $1::text", hob_ints(NULL, 0), "{}"},
        {"SELECT id::text FROM item WHERE id = ANY($1)", hob_ints((const int64_t[]){5, 1}, 2), "1"},
        {"SELECT $1::text", hob_texts(texts, 4), "{\"a,b\",NULL,\"\\\"{\",\"\"}"},
        {"SELECT $1::text", hob_texts(NULL, 0), "{}"},
        {"SELECT $1::text", hob_uuid(uuids[0]), "0190a2f0-0000-7000-8000-00000000abcd"},
        {"SELECT ($1 IS NULL)::text", hob_uuid((hob_text){0}), "true"},
        {"SELECT encode($1, 'hex')", hob_bytea(byteas[0]), "00ff27"},
        {"SELECT ($1 IS NULL)::text", hob_bytea((hob_text){0}), "true"},
        {"SELECT $1::text", hob_bools(bools, 2), "{t,f}"},
        {"SELECT $1::text", hob_doubles(doubles, 2), "{0.1,-1e+300}"},
        {"SELECT array_length($1, 1)::text || ' ' || extract(epoch FROM $1[2])", hob_times(times, 2), "2 -0.000001"},
        {"SELECT $1::text", hob_uuids(uuids, 2), "{0190a2f0-0000-7000-8000-00000000abcd,NULL}"},
        {"SELECT encode($1[1], 'hex') || length($1[2]) || ($1[3] IS NULL)", hob_byteas(byteas, 3), "00ff270true"},
        {"SELECT $1::text", hob_byteas(NULL, 0), "{}"},
    };
    server_sql("INSERT INTO item (id, name, size) VALUES (1, 'one', 11)");
    open_db();
    for (size_t i = 0; i < COUNT(cases); i++) {
        actor *self = ask_within(20000, (hob_query)HOB_READ(cases[i].sql), &cases[i].param, 1);
        finish(self);
        assert_value(self, cases[i].expected);
    }
    server_sql("DELETE FROM item");
}

static void text_that_cannot_be_stored_never_reaches_the_server(void **state) {
    (void)state;
    const hob_param bad = hob_str((hob_text){"a\0b", 3});
    open_db();
    actor *self = ask_within(20000, (hob_query)HOB_READ("SELECT $1::text"), &bad, 1);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_BAD_TEXT);
    assert_int_equal(hob__db_counters(db)->queries, 0);
}

static void large_values_pass_both_ways(void **state) {
    (void)state;
    size_t size = 6 << 20;
    char *large = malloc(size);
    assert_non_null(large);
    memset(large, 'x', size);
    const hob_param params[] = {hob_str((hob_text){large, size})};
    open_db();
    for (int i = 0; i < 3; i++)
        ask_within(20000, (hob_query)HOB_READ("SELECT $1::text || 'y'"), params, 1);
    finish_all();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
        assert_int_equal(value_of(&actors[i]).size, size + 1);
        assert_int_equal(value_of(&actors[i]).data[size], 'y');
    }
    free(large);
}

static void act_in_a_small_arena(actor *self) {
    hob_arena *large = self->task.arena;
    self->task.arena = self->arg;
    act_query(self);
    self->task.arena = large;
}

static void no_memory_is_an_outcome(void **state) {
    (void)state;
    hob_arena *small = hob__arena_new(1);
    open_db();
    actor *self = act(act_in_a_small_arena, 20000);
    self->query = QUICK;
    self->arg = small;
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_NO_MEMORY);
    hob__arena_free(small);
    self = ask_quick();
    finish(self);
    assert_value(self, "quick");
}

static void violations_say_what_was_violated(void **state) {
    (void)state;
    static const struct {
        const char *sql, *sqlstate, *constraint;
        hob_outcome outcome;
    } cases[] = {
        {"INSERT INTO item (id, name) VALUES (2, 'one')", "23505", "item_name", HOB_OUTCOME_UNIQUE},
        {"INSERT INTO item (id, parent) VALUES (3, 99)", "23503", "item_parent", HOB_OUTCOME_FOREIGN_KEY},
        {"DELETE FROM item WHERE id = 1", "23503", "item_parent", HOB_OUTCOME_FOREIGN_KEY},
        {"INSERT INTO item (id, size) VALUES (4, 0)", "23514", "item_size", HOB_OUTCOME_CHECK},
        {"INSERT INTO item (id, name) VALUES (5, 'much too long for twenty')", "22001", NULL, HOB_OUTCOME_CHECK},
        /* checked when the implicit transaction commits, when INSERT itself has long succeeded */
        {"INSERT INTO item (id, tag) VALUES (6, 1)", "23505", "item_tag", HOB_OUTCOME_UNIQUE},
        {"SELECT nothing FROM nowhere", "42P01", NULL, HOB_OUTCOME_FAILED},
    };
    server_sql("INSERT INTO item (id, name, tag) VALUES (1, 'one', 1); INSERT INTO item (id, parent) VALUES (10, 1)");
    open_db();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(cases); i++) {
            actor *self = ask_write(cases[i].sql);
            finish(self);
            assert_int_equal(self->outcome, cases[i].outcome);
            assert_string_equal(self->rows->sqlstate, cases[i].sqlstate);
            assert_true(hob_text_equal(self->rows->constraint, hob_text_of(cases[i].constraint)));
            assert_null(self->rows->result);
        }
    }
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "2");
    server_sql("DELETE FROM item");
}

/* ---- Batches ---- */

static void queries_of_one_turn_leave_as_one_batch(void **state) {
    (void)state;
    open_warm_db();
    warm(QUICK, NULL, 0);
    remember_counters();
    for (int i = 0; i < 10; i++)
        ask_quick();
    finish_all();
    for (int i = 0; i < 10; i++)
        assert_value(&actors[i], "quick");
    assert_int_equal(SINCE(queries), 10);
    assert_int_equal(SINCE(batches), 1);
    assert_int_equal(SINCE(batch_sizes[10]), 1);
    assert_int_equal(SINCE(syncs), 1);
    assert_int_equal(SINCE(waits), 0);
}

static void a_batch_has_its_bound(void **state) {
    (void)state;
    open_warm_db();
    warm(QUICK, NULL, 0);
    remember_counters();
    for (int i = 0; i < 40; i++)
        ask_quick();
    finish_all();
    assert_int_equal(SINCE(batches), 2);
    assert_int_equal(SINCE(batch_sizes[32]), 1);
    assert_int_equal(SINCE(batch_sizes[8]), 1);
}

static void what_finds_no_connection_waits(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    warm(QUICK, NULL, 0);
    remember_counters();
    for (int i = 0; i < 40; i++)
        ask_quick();
    finish_all();
    assert_int_equal(SINCE(batches), 2);
    assert_int_equal(SINCE(waits), 8);
    assert_true(SINCE(wait_ns) > 0);
    for (int i = 0; i < 40; i++)
        assert_value(&actors[i], "quick");
}

static void a_failing_read_takes_down_only_itself(void **state) {
    (void)state;
    const hob_param good = hob_int(2), bad = hob_int(0);
    open_warm_db();
    warm(DIVIDE, &good, 1);
    remember_counters();
    for (int i = 0; i < 6; i++)
        ask_within(20000, DIVIDE, i == 2 ? &bad : &good, 1);
    finish_all();
    for (int i = 0; i < 6; i++)
        if (i == 2)
            assert_string_equal(actors[i].rows->sqlstate, "22012");
        else
            assert_value(&actors[i], "3");
    assert_int_equal(SINCE(batch_sizes[6]), 1);
    assert_int_equal(SINCE(retries), 3);
}

static void a_slow_query_delays_nobody(void **state) {
    (void)state;
    open_warm_db();
    warm(QUICK, NULL, 0);
    actor *slow = ask_read("SELECT pg_sleep(0.7)");
    for (int i = 0; i < 5; i++)
        ask_quick(); /* beside it */
    turn_ms(100);
    for (int i = 0; i < 5; i++)
        finish(ask_quick()); /* behind it */
    assert_int_equal(slow->order, 0);
    for (size_t i = 1; i < actor_count; i++)
        assert_value(&actors[i], "quick");
    finish_all();
    assert_int_equal(slow->outcome, HOB_OUTCOME_GOOD);
}

/* Even where there is but one connection, the answers of what goes with a slow one do not wait for it. */
static void a_slow_query_goes_behind_the_quick_ones(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    warm(QUICK, NULL, 0);
    actor *slow = ask_read("SELECT pg_sleep(0.3)");
    for (int i = 0; i < 5; i++)
        ask_quick();
    finish_all();
    assert_int_equal(slow->order, 6);
    assert_int_equal(hob__db_counters(db)->batch_sizes[6], 1);
}

/* A statement that was quick a hundred times and is not this time takes its batch along once, not twice. */
static void a_statement_seen_slow_leaves_the_batches(void **state) {
    (void)state;
    static const hob_query SLEEP = HOB_READ("SELECT pg_sleep($1)");
    const hob_param none = hob_double(0), some = hob_double(0.3);
    open_warm_db();
    warm(QUICK, NULL, 0);
    warm(SLEEP, &none, 1);
    ask_quick();
    ask_within(20000, SLEEP, &some, 1);
    finish_all();
    warm(QUICK, NULL, 0);
    remember_counters();
    ask_quick();
    ask_within(20000, SLEEP, &some, 1);
    finish_all();
    assert_int_equal(SINCE(batch_sizes[1]), 2);
    assert_int_equal(actors[1].order, 2);
}

static void a_write_has_a_sync_of_its_own(void **state) {
    (void)state;
    hob_param rows[14][2];
    open_warm_db();
    warm(QUICK, NULL, 0);
    for (int i = 0; i < 14; i++) {
        rows[i][0] = hob_int(i < 13 ? i : 0); /* the last one has the key of the first */
        rows[i][1] = hob_null();
    }
    for (int i = 0; i < 11; i++)
        finish(ask_within(20000, WRITE_ITEM, rows[i], 2));
    remember_counters();
    actor *first = ask_within(20000, WRITE_ITEM, rows[11], 2);
    ask_quick();
    actor *bad = ask_within(20000, WRITE_ITEM, rows[13], 2);
    ask_quick();
    actor *last = ask_within(20000, WRITE_ITEM, rows[12], 2);
    finish_all();
    assert_int_equal(first->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(last->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(bad->outcome, HOB_OUTCOME_UNIQUE);
    assert_int_equal(SINCE(batches), 1);
    assert_int_equal(SINCE(syncs), 4);
    assert_int_equal(SINCE(retries), 0);
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "13");
    server_sql("DELETE FROM item");
}

/* ---- Statements ---- */

static void statements_are_prepared_once_a_connection(void **state) {
    (void)state;
    open_warm_db();
    for (int i = 0; i < 20; i++)
        finish(ask_quick());
    assert_int_equal(hob__db_counters(db)->prepares, 1);
    actor *self = ask_read("SELECT count(*)::text FROM pg_prepared_statements WHERE statement = 'SELECT ''quick'''");
    finish(self);
    assert_value(self, "1");
}

static void a_changed_table_is_no_failure(void **state) {
    (void)state;
    static const hob_query ALL = HOB_READ("SELECT * FROM changing");
    server_sql("CREATE TABLE changing (a text); INSERT INTO changing VALUES ('a')");
    open_warm_db();
    warm(QUICK, NULL, 0);
    for (int round = 0; round < 3; round++) {
        warm(ALL, NULL, 0);
        server_sql(round == 0   ? "ALTER TABLE changing ADD COLUMN c text DEFAULT 'c'"
                   : round == 1 ? "ALTER TABLE changing ADD COLUMN d text DEFAULT 'd'"
                                : "ALTER TABLE changing ALTER a TYPE varchar(5)");
        remember_counters();
        ask_quick();
        for (int i = 0; i < 5; i++)
            ask_within(20000, ALL, NULL, 0);
        ask_quick();
        finish_all();
        for (int i = 1; i < 6; i++)
            assert_value(&actors[i], "a");
        assert_value(&actors[0], "quick");
        assert_value(&actors[6], "quick");
        assert_true(SINCE(retries) > 0);
        forget_actors();
    }
    server_sql("DROP TABLE changing");
}

static void lost_statements_are_prepared_anew(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    warm(QUICK, NULL, 0);
    finish(ask_write("DEALLOCATE ALL"));
    remember_counters();
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
    assert_int_equal(SINCE(prepares), 1);
    assert_int_equal(SINCE(retries), 1);
}

static void statements_without_end_are_bounded(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    for (int i = 0; i < 1100; i++) {
        char sql[32];
        snprintf(sql, sizeof sql, "SELECT '%d'", i);
        actor *self = ask_read(sql);
        finish(self);
        assert_value(self, hob__arena_format(self->task.arena, "%d", i).data);
        forget_actors();
    }
    assert_int_equal(hob__db_counters(db)->prepares, 1024);
}

static void sessions_have_their_settings(void **state) {
    (void)state;
    static const char *const expected[][2] = {{"SELECT current_setting('statement_timeout')", "1500ms"},
                                              {"SELECT current_setting('lock_timeout')", "250ms"},
                                              {"SELECT current_setting('client_connection_check_interval')", "1s"},
                                              {"SELECT current_setting('application_name')", "db_test"},
                                              {"SELECT current_setting('client_encoding')", "UTF8"},
                                              {"SELECT current_setting('work_mem')", "5MB"}};
    char url[256];
    snprintf(url, sizeof url, "%s options='-c work_mem=5MB'", server.url);
    config.database_url = url;
    config.db_statement_timeout = 1500 * HOB_MS;
    config.db_lock_timeout = 250 * HOB_MS;
    open_db();
    for (size_t i = 0; i < COUNT(expected); i++)
        finish(ask_read(expected[i][0]));
    for (size_t i = 0; i < COUNT(expected); i++)
        assert_value(&actors[i], expected[i][1]);
}

static void without_named_statements_all_goes_as_well(void **state) {
    (void)state;
    const hob_param good = hob_int(2), bad = hob_int(0);
    config.db_prepare = false;
    config.db_statement_timeout = 200 * HOB_MS;
    open_warm_db();
    warm(DIVIDE, &good, 1);
    remember_counters();
    for (int i = 0; i < 6; i++)
        ask_within(20000, DIVIDE, i == 2 ? &bad : &good, 1);
    actor *slow = ask_read("SELECT pg_sleep(3)");
    actor *setting = ask_read("SELECT current_setting('lock_timeout')");
    actor *named = ask_read("SELECT count(*)::text FROM pg_prepared_statements");
    finish_all();
    for (int i = 0; i < 6; i++)
        assert_int_equal(actors[i].outcome, i == 2 ? HOB_OUTCOME_CHECK : HOB_OUTCOME_GOOD);
    assert_int_equal(slow->outcome, HOB_OUTCOME_TIMEOUT);
    assert_string_equal(slow->rows->sqlstate, "57014");
    assert_value(setting, "2s");
    assert_value(named, "0");
    assert_int_equal(SINCE(batch_sizes[6]), 1);
    assert_int_equal(hob__db_counters(db)->prepares, 0);
    actor *outside = ask_read("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'db_test'");
    finish(outside);
    assert_value(outside, "4");
}

/* ---- The pool ---- */

static void more_connections_come_and_go(void **state) {
    (void)state;
    config.db_max_open = 3;
    config.db_max_idle = 1;
    open_warm_db();
    turn_ms(50);
    assert_int_equal(hob__db_counters(db)->connects, 1);
    for (int i = 0; i < 3; i++)
        ask_read("SELECT pg_sleep(0.3)");
    finish_all();
    turn_ms(20);
    assert_int_equal(hob__db_counters(db)->connects, 3);
    assert_int_equal(hob__db_counters(db)->closed_max_idle, 2);
    assert_int_equal(hob__db_counters(db)->closed_idle_time, 0);
    assert_true(hob__db_up(db));
}

static void none_need_stay_idle(void **state) {
    (void)state;
    config.db_max_idle = 0;
    open_warm_db();
    turn_ms(20);
    assert_int_equal(hob__db_counters(db)->closed_max_idle, 1);
    assert_true(hob__db_up(db));
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
    turn_ms(20);
    assert_int_equal(hob__db_counters(db)->closed_max_idle, 2);
}

static void the_old_are_replaced(void **state) {
    (void)state;
    config.db_max_open = 1;
    config.db_conn_lifetime = 100 * HOB_MS;
    open_warm_db();
    turn_until(&hob__db_counters(db)->closed_lifetime, 1);
    turn_until(&hob__db_counters(db)->connects, 2);
    actor *self = ask_read("SELECT pg_sleep(0.3)"); /* longer than it may live */
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    turn_until(&hob__db_counters(db)->connects, 4);
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

static void the_idle_are_closed(void **state) {
    (void)state;
    config.db_max_open = config.db_max_idle = 2;
    config.db_conn_idle_time = 100 * HOB_MS;
    open_warm_db();
    turn_until(&hob__db_counters(db)->closed_idle_time, 2);
    assert_int_equal(hob__db_counters(db)->closed_max_idle, 0);
    turn_ms(50);
    assert_int_equal(hob__db_counters(db)->connects, 2);
    assert_true(hob__db_up(db));
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
}

static void the_pool_tells_how_it_stands(void **state) {
    (void)state;
    config.db_max_idle = 2;
    open_warm_db();
    hob_db_pool pool = hob__db_pool(db);
    assert_int_equal(pool.max_open, 4);
    assert_int_equal(pool.open, 2);
    assert_int_equal(pool.idle, 2);
    assert_int_equal(pool.in_use, 0);
    ask_read("SELECT pg_sleep(0.2)");
    turn_ms(50);
    pool = hob__db_pool(db);
    assert_int_equal(pool.open, 2);
    assert_int_equal(pool.idle, 1);
    assert_int_equal(pool.in_use, 1);
    finish_all();
}

/* As long as the one before it ran. */
static void waits_are_measured(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    ask_read("SELECT pg_sleep(0.3)");
    turn_ms(50);
    actor *patient = ask_quick(), *given_up = ask_within(100, QUICK, NULL, 0);
    finish_all();
    assert_value(patient, "quick");
    assert_int_equal(given_up->outcome, HOB_OUTCOME_NO_FREE_CONNECTION);
    assert_int_equal(hob__db_counters(db)->waits, 2);
    assert_in_range(hob__db_counters(db)->wait_ns, 300 * HOB_MS, 5 * HOB_S);
}

/* One by one, two are busy for long; all others pass by on those that are left. */
static void two_slow_queries_stop_nobody(void **state) {
    (void)state;
    open_warm_db();
    warm(QUICK, NULL, 0);
    actor *slow[2] = {ask_read("SELECT pg_sleep(1)"), ask_read("SELECT pg_sleep(1.01)")};
    turn_ms(20);
    for (int i = 0; i < 50; i++) {
        actor *self = ask_quick();
        finish(self);
        assert_value(self, "quick");
    }
    assert_int_equal(slow[0]->order + slow[1]->order, 0);
    finish_all();
}

/* A service tells the host, and its name is looked up beside the loop as any other. */
static void a_service_names_the_database(void **state) {
    (void)state;
    char path[] = "/tmp/hob_service_XXXXXX", url[] = "service=hob_test user=hob";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "[hob_test]\nhost=no-such-host.invalid,%s\nport=1,5432\ndbname=postgres\n", server.dir);
    close(fd);
    setenv("PGSERVICEFILE", path, 1);
    config.database_url = url;
    config.db_max_open = config.db_max_idle = 1;
    open_warm_db();
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
    assert_int_equal(hob__db_counters(db)->connect_failures, 0);
    close_all(state);
    unlink(path);
    assert_int_equal(open_loop(state), 0);
    config.database_url = url; /* a service that is nowhere defined is no database, not the default one */
    open_db();
    self = ask_quick();
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_UNAVAILABLE);
    unsetenv("PGSERVICEFILE");
    unsetenv("PGSERVICE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(parameters_arrive),
        DB_TEST(text_that_cannot_be_stored_never_reaches_the_server),
        DB_TEST(large_values_pass_both_ways),
        DB_TEST(no_memory_is_an_outcome),
        DB_TEST(violations_say_what_was_violated),
        DB_TEST(queries_of_one_turn_leave_as_one_batch),
        DB_TEST(a_batch_has_its_bound),
        DB_TEST(what_finds_no_connection_waits),
        DB_TEST(a_failing_read_takes_down_only_itself),
        DB_TEST(a_slow_query_delays_nobody),
        DB_TEST(a_slow_query_goes_behind_the_quick_ones),
        DB_TEST(a_statement_seen_slow_leaves_the_batches),
        DB_TEST(a_write_has_a_sync_of_its_own),
        DB_TEST(statements_are_prepared_once_a_connection),
        DB_TEST(a_changed_table_is_no_failure),
        DB_TEST(lost_statements_are_prepared_anew),
        DB_TEST(statements_without_end_are_bounded),
        DB_TEST(sessions_have_their_settings),
        DB_TEST(without_named_statements_all_goes_as_well),
        DB_TEST(more_connections_come_and_go),
        DB_TEST(none_need_stay_idle),
        DB_TEST(the_old_are_replaced),
        DB_TEST(the_idle_are_closed),
        DB_TEST(the_pool_tells_how_it_stands),
        DB_TEST(waits_are_measured),
        DB_TEST(two_slow_queries_stop_nobody),
        DB_TEST(a_service_names_the_database),
    };
    return cmocka_run_group_tests(tests, create_server, NULL);
}
