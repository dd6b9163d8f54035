/* Transactions against a real PostgreSQL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "db_harness.h"

/* A script: statements in order, then COMMIT or ROLLBACK. */
typedef struct script {
    hob_tx_options options;
    const char *statements[5];
    bool rollback;
    int last;                /* of the statements, counted from 1, with which COMMIT travels; 0: none */
    hob_outcome outcomes[5]; /* of the statements */
    bool began;
} script;

static void act_tx(actor *self) {
    script *script = self->arg;
    hob_db_tx_state *tx = hob__db_begin(db, &self->task, script->options, &self->outcome);
    if (!tx)
        return;
    script->began = true;
    for (int i = 0; i < 5 && script->statements[i]; i++) {
        hob_query query = HOB_WRITE(script->statements[i]);
        self->rows = (i + 1 == script->last ? hob__db_tx_query_last : hob__db_tx_query)(tx, &query, NULL, 0);
        script->outcomes[i] = self->rows->outcome;
    }
    self->outcome = hob__db_tx_outcome(tx);
    if (script->rollback)
        hob__db_rollback(tx);
    else
        self->outcome = hob__db_commit(tx);
}

static actor *run_tx(script *script, int64_t deadline_ms) {
    actor *self = act(act_tx, deadline_ms);
    self->arg = script;
    return self;
}

static int open_some(void **state, int64_t open, int64_t idle) {
    if (open_loop(state))
        return -1;
    config.db_max_open = open;
    config.db_max_idle = idle;
    open_warm_db();
    server_sql("DELETE FROM item");
    return 0;
}

static int open_one(void **state) {
    return open_some(state, 1, 1);
}

static int open_two(void **state) {
    return open_some(state, 2, 2);
}

static int open_four(void **state) {
    return open_some(state, 4, 4);
}

static int open_up_to_four(void **state) {
    return open_some(state, 4, 0);
}

static int open_without_prepare(void **state) {
    if (open_loop(state))
        return -1;
    config.db_prepare = false;
    config.db_statement_timeout = 300 * HOB_MS;
    open_warm_db();
    server_sql("DELETE FROM item");
    return 0;
}

static const char *items(void) {
    return server_sql("SELECT coalesce(string_agg(name, ',' ORDER BY id), '') FROM item");
}

static void committed_work_stays(void **state) {
    (void)state;
    script script = {
        .statements = {"INSERT INTO item (id, name) VALUES (1, 'a')", "INSERT INTO item (id, name) VALUES (2, 'b')"}};
    uint64_t batches = hob__db_counters(db)->batches;
    actor *self = run_tx(&script, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    assert_string_equal(items(), "a,b");
    assert_int_equal(hob__db_counters(db)->batches - batches, 3); /* BEGIN came with the first */
}

static void rolled_back_work_does_not(void **state) {
    (void)state;
    script script = {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')"}, .rollback = true};
    for (int i = 0; i < 5; i++) {
        actor *self = run_tx(&script, 20000);
        finish(self);
        assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    }
    turn_ms(20);
    assert_string_equal(items(), "");
    assert_int_equal(hob__db_counters(db)->connects, 2);
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

static void an_empty_transaction_asks_nothing(void **state) {
    (void)state;
    script commit = {0}, rollback = {.rollback = true};
    run_tx(&commit, 20000);
    run_tx(&rollback, 20000);
    finish_all();
    assert_int_equal(actors[0].outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(actors[1].outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(hob__db_counters(db)->batches, 0);
}

static void options_reach_the_server(void **state) {
    (void)state;
    static const struct {
        hob_tx_options options;
        const char *isolation, *read_only;
    } cases[] = {{{HOB_TX_DEFAULT, false}, "read committed", "off"},
                 {{HOB_TX_DEFAULT, true}, "read committed", "on"},
                 {{HOB_TX_REPEATABLE_READ, false}, "repeatable read", "off"},
                 {{HOB_TX_REPEATABLE_READ, true}, "repeatable read", "on"},
                 {{HOB_TX_SERIALIZABLE, false}, "serializable", "off"},
                 {{HOB_TX_SERIALIZABLE, true}, "serializable", "on"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        script isolation = {.options = cases[i].options,
                            .statements = {"SELECT current_setting('transaction_isolation')"}};
        script read_only = {.options = cases[i].options,
                            .statements = {"SELECT current_setting('transaction_read_only')"}};
        actor *a = run_tx(&isolation, 20000), *b = run_tx(&read_only, 20000);
        finish_all();
        assert_value(a, cases[i].isolation);
        assert_value(b, cases[i].read_only);
    }
}

static void the_first_failure_is_the_outcome(void **state) {
    (void)state;
    script script = {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')",
                                    "INSERT INTO item (id, name) VALUES (2, 'a')",
                                    "INSERT INTO item (id, name) VALUES (3, 'c')"}};
    actor *self = run_tx(&script, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_UNIQUE);
    assert_int_equal(script.outcomes[1], HOB_OUTCOME_UNIQUE);
    assert_int_equal(script.outcomes[2], HOB_OUTCOME_FAILED);
    assert_string_equal(items(), "");
}

static void a_commit_can_fail(void **state) {
    (void)state;
    script script = {
        .statements = {"INSERT INTO item (id, tag) VALUES (1, 1)", "INSERT INTO item (id, tag) VALUES (2, 1)"}};
    actor *self = run_tx(&script, 20000);
    finish(self);
    assert_int_equal(script.outcomes[1], HOB_OUTCOME_GOOD);
    assert_int_equal(self->outcome, HOB_OUTCOME_UNIQUE);
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "0");
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

static void commit_travels_with_the_last(void **state) {
    (void)state;
    script script = {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')",
                                    "INSERT INTO item (id, name) VALUES (2, 'b') RETURNING name"},
                     .last = 2};
    uint64_t batches = hob__db_counters(db)->batches;
    for (int i = 0; i < 3; i++) { /* first with what has to be prepared */
        server_sql("DELETE FROM item");
        actor *self = run_tx(&script, 20000);
        finish(self);
        assert_value(self, "b");
        assert_string_equal(items(), "a,b");
    }
    assert_int_equal(hob__db_counters(db)->batches - batches, 6);
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

static void what_was_committed_with_the_last_stays(void **state) {
    (void)state;
    script script = {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')"}, .last = 1, .rollback = true};
    actor *self = run_tx(&script, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    assert_string_equal(items(), "a");
    assert_int_equal(hob__db_counters(db)->batches, 1);
}

static void nothing_comes_behind_the_last(void **state) {
    (void)state;
    script script = {
        .statements = {"INSERT INTO item (id, name) VALUES (1, 'a')", "INSERT INTO item (id, name) VALUES (2, 'b')"},
        .last = 1};
    actor *self = run_tx(&script, 20000);
    finish(self);
    assert_int_equal(script.outcomes[0], HOB_OUTCOME_GOOD);
    assert_int_equal(script.outcomes[1], HOB_OUTCOME_FAILED);
    assert_string_equal(items(), "a");
}

static void a_last_that_fails_is_not_committed(void **state) {
    (void)state;
    script scripts[] = {
        {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')", "INSERT INTO item (id, name) VALUES (2, 'a')"},
         .last = 2},
        {.statements = {"INSERT INTO item (id, tag) VALUES (1, 1)", "INSERT INTO item (id, tag) VALUES (2, 1)",
                        "INSERT INTO item (id) VALUES (3)"},
         .last = 2}, /* deferred: COMMIT fails, and the third must not be committed by itself */
        {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')", "INSERT INTO item (id, size) VALUES (2, 0)",
                        "INSERT INTO item (id) VALUES (3)"},
         .last = 3}, /* the second has failed before */
    };
    static const hob_outcome outcomes[] = {HOB_OUTCOME_UNIQUE, HOB_OUTCOME_UNIQUE, HOB_OUTCOME_CHECK};
    for (size_t i = 0; i < COUNT(scripts); i++) {
        actor *self = run_tx(&scripts[i], 20000);
        finish(self);
        assert_int_equal(self->outcome, outcomes[i]);
        turn_ms(20);
        assert_string_equal(server_sql("SELECT count(*) FROM item"), "0");
        assert_int_equal(hob__db_pool(db).idle, 2);
    }
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

static void conflicts_are_serialization_failures(void **state) {
    (void)state;
    for (int last = 0; last <= 3; last += 3) {
        server_sql("DELETE FROM item; INSERT INTO item (id, size) VALUES (1, 1)");
        script script = {
            .options = {.isolation = HOB_TX_REPEATABLE_READ},
            .statements = {"SELECT size FROM item", "SELECT pg_sleep(0.2)", "UPDATE item SET size = size + 1"},
            .last = last};
        struct script other = script;
        actor *a = run_tx(&script, 20000), *b = run_tx(&other, 20000);
        finish_all();
        assert_int_equal(a->outcome + b->outcome, HOB_OUTCOME_GOOD + HOB_OUTCOME_SERIALIZATION);
        assert_string_equal(server_sql("SELECT size FROM item"), "2");
    }
}

/* Two transactions want the one connection that may be had; everybody else keeps the other. */
static void a_transaction_never_takes_the_last_connection(void **state) {
    (void)state;
    script long_one = {.statements = {"SELECT pg_sleep(0.6)"}}, late = {.statements = {"SELECT 1"}}, patient = late;
    actor *first = run_tx(&long_one, 20000), *second = run_tx(&late, 200), *third = run_tx(&patient, 20000);
    turn_ms(50);
    actor *query = ask_read("SELECT 'x'");
    finish(query);
    assert_value(query, "x");
    finish(second);
    assert_int_equal(second->outcome, HOB_OUTCOME_NO_FREE_CONNECTION);
    assert_false(late.began);
    assert_int_equal(first->order, 0);
    finish_all();
    assert_int_equal(first->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(third->outcome, HOB_OUTCOME_GOOD);
    assert_true(third->order > first->order);
}

static void of_one_connection_it_takes_that(void **state) {
    (void)state;
    script script = {.statements = {"SELECT pg_sleep(0.2)"}};
    actor *self = run_tx(&script, 20000);
    turn_ms(50);
    actor *query = ask_within(50, (hob_query)HOB_READ("SELECT 'x'"), NULL, 0), *later = ask_read("SELECT 'y'");
    finish_all();
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(query->outcome, HOB_OUTCOME_NO_FREE_CONNECTION);
    assert_value(later, "y");
}

/* More connections than are warm are opened for them. */
static void the_pool_grows_for_transactions(void **state) {
    (void)state;
    script scripts[3] = {{.statements = {"SELECT pg_sleep(0.2)"}},
                         {.statements = {"SELECT pg_sleep(0.2)"}},
                         {.statements = {"SELECT 1"}}};
    for (int i = 0; i < 3; i++)
        run_tx(&scripts[i], 20000);
    finish_all();
    turn_ms(20);
    for (int i = 0; i < 3; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
    assert_true(hob__db_counters(db)->connects <= 5);
}

static void terminate_sessions(void) {
    server_sql(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'db_test'");
}

static void a_lost_connection_loses_the_transaction(void **state) {
    (void)state;
    script script = {
        .statements = {"INSERT INTO item (id) VALUES (1)", "SELECT pg_sleep(10)", "INSERT INTO item (id) VALUES (2)"}};
    actor *self = run_tx(&script, 20000);
    turn_ms(100);
    terminate_sessions();
    finish(self);
    assert_int_equal(script.outcomes[1], HOB_OUTCOME_UNAVAILABLE);
    assert_int_equal(script.outcomes[2], HOB_OUTCOME_UNAVAILABLE);
    assert_int_equal(self->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "0");
}

static void nobody_knows_about_a_commit_without_answer(void **state) {
    (void)state;
    server_sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()");
    for (int last = 0; last < 2; last++) { /* COMMIT by itself, and with the last statement */
        script scripts[2] = {{.statements = {"INSERT INTO item (id) VALUES (1)"}, .last = last},
                             {.statements = {"INSERT INTO item (id) VALUES (2)"}, .last = last}};
        actor *terminated = run_tx(&scripts[0], 20000);
        turn_ms(100);
        terminate_sessions();
        finish(terminated);
        turn_ms(100);
        actor *late = run_tx(&scripts[1], 300);
        finish(late);
        assert_int_equal(terminated->outcome, HOB_OUTCOME_UNKNOWN);
        assert_int_equal(late->outcome, HOB_OUTCOME_UNKNOWN);
        turn_ms(100);
    }
    server_sql("DROP FUNCTION slow CASCADE");
}

static void a_deadline_ends_a_transaction(void **state) {
    (void)state;
    script script = {.statements = {"INSERT INTO item (id) VALUES (1)", "SELECT pg_sleep(10)"}};
    actor *self = run_tx(&script, 200);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_TIMEOUT);
    actor *query = ask_read("SELECT 'x'");
    finish(query);
    assert_value(query, "x");
    turn_until(&hob__db_counters(db)->connects, 3);
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "0");
}

static void a_cancelled_transaction_is_not_committed(void **state) {
    (void)state;
    script scripts[] = {{.statements = {"INSERT INTO item (id) VALUES (1)", "SELECT pg_sleep(10)"}},
                        {.statements = {"INSERT INTO item (id) VALUES (2)", "SELECT pg_sleep(10)"}, .rollback = true}};
    for (size_t i = 0; i < COUNT(scripts); i++) {
        actor *self = run_tx(&scripts[i], 20000);
        turn_ms(100);
        hob__task_cancel(&self->task);
        finish(self);
        assert_int_equal(self->outcome, HOB_OUTCOME_CANCELLED);
        turn_until(&hob__db_counters(db)->connects, 3 + i);
    }
    turn_ms(1500); /* the server checks every second whether its client is still there */
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "0");
    assert_string_equal(server_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"), "0");
}

/* A plan that has gone stale is not seen before its statement runs; the transaction run again succeeds. */
static void a_changed_table_asks_for_another_run(void **state) {
    (void)state;
    script script = {.statements = {"SELECT * FROM changing"}};
    server_sql("CREATE TABLE changing (a text); INSERT INTO changing VALUES ('a')");
    finish(run_tx(&script, 20000));
    server_sql("ALTER TABLE changing ADD COLUMN b text");
    actor *first = run_tx(&script, 20000);
    finish(first);
    actor *second = run_tx(&script, 20000);
    finish(second);
    server_sql("DROP TABLE changing");
    assert_int_equal(first->outcome, HOB_OUTCOME_SERIALIZATION);
    assert_value(second, "a");
}

static void timeouts_hold_without_startup_options(void **state) {
    (void)state;
    script slow = {.statements = {"SELECT 1", "SELECT pg_sleep(10)"}},
           good = {.statements = {"INSERT INTO item (id, name) VALUES (1, 'a')"}};
    actor *self = run_tx(&slow, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_TIMEOUT);
    self = run_tx(&good, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    assert_string_equal(items(), "a");
}

typedef struct branches {
    hob_db_tx_state *tx;
    int left;
    hob_task *parent;
} branches;

static void act_branch(actor *self) {
    branches *shared = self->arg;
    self->rows = hob__db_tx_query(shared->tx, &self->query, NULL, 0);
    self->outcome = self->rows->outcome;
    if (--shared->left == 0)
        hob__task_wake(shared->parent);
}

static void act_fan_out(actor *self) {
    branches shared = {
        .tx = hob__db_begin(db, &self->task, (hob_tx_options){0}, &self->outcome), .left = 5, .parent = &self->task};
    for (int i = 0; shared.tx && i < 5; i++) {
        actor *branch = act(act_branch, 20000);
        branch->query = (hob_query)HOB_READ("SELECT txid_current()::text");
        branch->arg = &shared;
    }
    while (shared.tx && shared.left > 0)
        hob__task_park_surely(&self->task);
    if (shared.tx)
        self->outcome = hob__db_commit(shared.tx);
}

static void branches_share_a_transaction(void **state) {
    (void)state;
    actor *self = act(act_fan_out, 20000);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    for (int i = 1; i < 6; i++) {
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
        assert_true(hob_text_equal(value_of(&actors[i]), value_of(&actors[1])));
    }
}

static void a_transaction_begun_by_hand_does_not_leak(void **state) {
    (void)state;
    actor *self = ask_write("BEGIN");
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    turn_until(&hob__db_counters(db)->connects, 3);
    assert_int_equal(hob__db_counters(db)->lost, 1);
}

#define TX_TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_all)

int main(void) {
    const struct CMUnitTest tests[] = {
        TX_TEST(committed_work_stays, open_two),
        TX_TEST(rolled_back_work_does_not, open_two),
        TX_TEST(an_empty_transaction_asks_nothing, open_two),
        TX_TEST(options_reach_the_server, open_two),
        TX_TEST(the_first_failure_is_the_outcome, open_two),
        TX_TEST(a_commit_can_fail, open_two),
        TX_TEST(commit_travels_with_the_last, open_two),
        TX_TEST(what_was_committed_with_the_last_stays, open_two),
        TX_TEST(nothing_comes_behind_the_last, open_two),
        TX_TEST(a_last_that_fails_is_not_committed, open_two),
        TX_TEST(conflicts_are_serialization_failures, open_four),
        TX_TEST(a_transaction_never_takes_the_last_connection, open_two),
        TX_TEST(of_one_connection_it_takes_that, open_one),
        TX_TEST(the_pool_grows_for_transactions, open_up_to_four),
        TX_TEST(a_lost_connection_loses_the_transaction, open_two),
        TX_TEST(nobody_knows_about_a_commit_without_answer, open_two),
        TX_TEST(a_deadline_ends_a_transaction, open_two),
        TX_TEST(a_cancelled_transaction_is_not_committed, open_two),
        TX_TEST(a_changed_table_asks_for_another_run, open_two),
        TX_TEST(timeouts_hold_without_startup_options, open_without_prepare),
        TX_TEST(commit_travels_with_the_last, open_without_prepare),
        TX_TEST(branches_share_a_transaction, open_two),
        TX_TEST(a_transaction_begun_by_hand_does_not_leak, open_two),
    };
    return cmocka_run_group_tests(tests, create_server, NULL);
}
