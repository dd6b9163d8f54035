/* A process that answers one request connects when it asks, and no more often than it must. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <sys/un.h>

#include "db_harness.h"

static int open_on_demand(void **state) {
    int failed = open_loop(state);
    config.on_demand = true;
    return failed;
}

static void act_reach(actor *self) {
    self->arg = hob__db_reach(db, &self->task) ? self : NULL;
}

static bool reached(void) {
    actor *self = act(act_reach, 20000);
    finish(self);
    return self->arg != NULL;
}

static void nothing_asked_nothing_opened(void **state) {
    (void)state;
    open_db();
    turn_ms(100);
    assert_int_equal(hob__db_pool(db).open, 0);
    assert_int_equal(hob__db_counters(db)->connects, 0);
    assert_false(hob__db_up(db));
}

static void a_query_waits_for_the_one_it_needs(void **state) {
    (void)state;
    open_db();
    actor *self = ask_read("SELECT 'x'");
    finish(self);
    assert_value(self, "x");
    finish(ask_write("SELECT 'y'"));
    assert_int_equal(hob__db_counters(db)->connects, 1);
    assert_true(hob__db_up(db));
}

/* A worker would open more for statements it has never seen, since they may be slow. */
static void those_side_by_side_share_it(void **state) {
    (void)state;
    open_db();
    for (int i = 0; i < 5; i++)
        ask_read(i % 2 ? "SELECT 'x' FROM pg_sleep(0.02)" : "SELECT 'y'");
    finish_all();
    for (int i = 0; i < 5; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(hob__db_counters(db)->connects, 1);
}

static void act_tx(actor *self) {
    hob_db_tx_state *tx = hob__db_begin(db, &self->task, (hob_tx_options){0}, &self->outcome);
    if (!tx)
        return;
    self->rows = hob__db_tx_query(tx, &self->query, NULL, 0);
    while (self->arg && !((actor *)self->arg)->order) /* somebody who must not have to wait for this one */
        (void)hob__task_park(&self->task, hob__loop_now(loop) + HOB_MS);
    self->outcome = hob__db_commit(tx);
}

static void a_transaction_takes_the_only_one(void **state) {
    (void)state;
    open_db();
    actor *self = act(act_tx, 20000);
    self->query = (hob_query)HOB_WRITE("SELECT 'x'");
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(hob__db_counters(db)->connects, 1);
}

static void what_a_transaction_would_block_gets_another(void **state) {
    (void)state;
    open_db();
    actor *outer = act(act_tx, 20000), *inner = act(act_tx, 20000);
    actor *beside = ask_read("SELECT 'y'");
    outer->query = inner->query = (hob_query)HOB_WRITE("SELECT 'x'");
    outer->arg = inner;
    inner->arg = beside;
    finish_all();
    assert_int_equal(outer->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(inner->outcome, HOB_OUTCOME_GOOD);
    assert_value(beside, "y");
    assert_in_range(hob__db_counters(db)->connects, 2, 3);
}

static void one_is_enough_if_there_may_be_no_more(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_db();
    act(act_tx, 20000)->query = (hob_query)HOB_WRITE("SELECT 'x'");
    ask_read("SELECT 'y'");
    finish_all();
    assert_int_equal(actors[0].outcome, HOB_OUTCOME_GOOD);
    assert_value(&actors[1], "y");
    assert_int_equal(hob__db_counters(db)->connects, 1);
}

static void reaching_it_connects(void **state) {
    (void)state;
    open_db();
    assert_true(reached());
    assert_true(reached());
    assert_int_equal(hob__db_counters(db)->connects, 1);
    assert_int_equal(hob__db_counters(db)->queries, 0);
    assert_int_equal(hob__db_pool(db).idle, 1);
}

static void what_is_not_there_is_known_at_once(void **state) {
    (void)state;
    config.database_url = "host=/nonexistent";
    open_db();
    int64_t began = hob__clock_ns();
    assert_false(reached());
    actor *self = ask_read("SELECT 'x'");
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_true(hob__clock_ns() - began < 500 * HOB_MS);
}

/* Connections are taken by the kernel, and nobody says a word. */
static void what_does_not_answer_is_waited_for_three_seconds(void **state) {
    static char url[128];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.9999", server.dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    snprintf(url, sizeof url, "host=%s port=9999", server.dir);
    config.database_url = url;
    open_db();
    int64_t began = hob__clock_ns();
    actor *self = ask_read("SELECT 'x'");
    finish(self);
    int64_t took = hob__clock_ns() - began;
    assert_int_equal(self->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_in_range(took / HOB_MS, 2900, 4500);
    close(fd);
    unlink(address.sun_path);
}

#define ON_DEMAND_TEST(name) cmocka_unit_test_setup_teardown(name, open_on_demand, close_all)

int main(void) {
    const struct CMUnitTest tests[] = {
        ON_DEMAND_TEST(nothing_asked_nothing_opened),
        ON_DEMAND_TEST(a_query_waits_for_the_one_it_needs),
        ON_DEMAND_TEST(those_side_by_side_share_it),
        ON_DEMAND_TEST(a_transaction_takes_the_only_one),
        ON_DEMAND_TEST(what_a_transaction_would_block_gets_another),
        ON_DEMAND_TEST(one_is_enough_if_there_may_be_no_more),
        ON_DEMAND_TEST(reaching_it_connects),
        ON_DEMAND_TEST(what_is_not_there_is_known_at_once),
        ON_DEMAND_TEST(what_does_not_answer_is_waited_for_three_seconds),
    };
    return cmocka_run_group_tests(tests, create_server, NULL);
}
