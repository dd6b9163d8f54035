/* What batches cost: this program's own send and recv, which libpq calls, count. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>

#include "db_harness.h"

static int sends, receives;

__attribute__((visibility("default"))) ssize_t send(int fd, const void *buffer, size_t size, int flags) {
    sends++;
    return sendto(fd, buffer, size, flags, NULL, 0);
}

__attribute__((visibility("default"))) ssize_t recv(int fd, void *buffer, size_t size, int flags) {
    receives += !(flags & MSG_PEEK); /* the look whether an idle connection is sound */
    return recvfrom(fd, buffer, size, flags, NULL, NULL);
}

static void ask_together(hob_query query, int count) {
    for (int i = 0; i < count; i++)
        ask_within(20000, query, NULL, 0);
    finish_all();
    for (int i = 0; i < count; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
    forget_actors();
}

static void a_batch_of_reads_is_one_write_and_about_one_read(void **state) {
    (void)state;
    static const hob_query quick = HOB_READ("SELECT 'quick'");
    static const int sizes[] = {1, 2, 10, 32};
    enum { ROUNDS = 20 };
    open_warm_db();
    warm(quick, NULL, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        hob_db_counters before = *hob__db_counters(db);
        sends = receives = 0;
        for (int round = 0; round < ROUNDS; round++)
            ask_together(quick, sizes[i]);
        const hob_db_counters *after = hob__db_counters(db);
        assert_int_equal(after->batch_sizes[sizes[i]] - before.batch_sizes[sizes[i]], ROUNDS);
        assert_int_equal(after->syncs - before.syncs, ROUNDS);
        assert_int_equal(sends, ROUNDS);
        assert_in_range(receives, ROUNDS, ROUNDS + ROUNDS / 2); /* an answer can come in two pieces */
    }
}

/* libpq 15 flushes at each Sync, and each write has its own. */
static void a_batch_of_writes_costs_its_syncs(void **state) {
    (void)state;
    static const hob_query quick = HOB_WRITE("SELECT 'quick'");
    open_warm_db();
    warm(quick, NULL, 0);
    sends = receives = 0;
    ask_together(quick, 8);
    assert_int_equal(sends, 8);
    assert_in_range(receives, 1, 8);
}

/* The server sends what fills its buffer, and the rest with the Sync: the large one pushes the first one out. */
static void a_read_does_not_wait_for_its_batch(void **state) {
    (void)state;
    static const hob_query quick = HOB_READ("SELECT 'quick'"), large = HOB_READ("SELECT repeat('x', 100000)"),
                           sleeping = HOB_READ("SELECT pg_sleep($1)");
    const hob_param none = hob_double(0), some = hob_double(0.5);
    open_warm_db();
    warm(quick, NULL, 0);
    warm(large, NULL, 0);
    warm(sleeping, &none, 1);
    uint64_t batches = hob__db_counters(db)->batch_sizes[3];
    actor *first = ask_within(20000, quick, NULL, 0), *second = ask_within(20000, large, NULL, 0),
          *third = ask_within(20000, sleeping, &some, 1);
    int64_t began = hob__clock_ns();
    finish(first);
    assert_true(hob__clock_ns() - began < 400 * HOB_MS);
    assert_value(first, "quick");
    finish_all();
    assert_int_equal(value_of(second).size, 100000);
    assert_int_equal(third->outcome, HOB_OUTCOME_GOOD);
    assert_int_equal(hob__db_counters(db)->batch_sizes[3] - batches, 1);
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

/* The transaction's own statements leave together, too, and BEGIN with them. */
static void act_tx(actor *self) {
    hob_db_tx_state *tx = hob__db_begin(db, &self->task, (hob_tx_options){0}, &self->outcome);
    if (!tx)
        return;
    self->rows = hob__db_tx_query(tx, &self->query, NULL, 0);
    self->outcome = hob__db_commit(tx);
}

static void a_transaction_of_one_statement_is_two_round_trips(void **state) {
    (void)state;
    open_warm_db();
    for (int round = 0; round < 2; round++) { /* the first prepares */
        sends = receives = 0;
        actor *self = act(act_tx, 20000);
        self->query = (hob_query)HOB_WRITE("SELECT 'once'");
        finish(self);
        assert_int_equal(self->outcome, HOB_OUTCOME_GOOD);
    }
    assert_int_equal(sends, 2);
    assert_in_range(receives, 2, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(a_batch_of_reads_is_one_write_and_about_one_read),
        DB_TEST(a_batch_of_writes_costs_its_syncs),
        DB_TEST(a_read_does_not_wait_for_its_batch),
        DB_TEST(a_transaction_of_one_statement_is_two_round_trips),
    };
    return cmocka_run_group_tests(tests, create_server, NULL);
}
