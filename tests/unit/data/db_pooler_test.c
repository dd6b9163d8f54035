/* Behind PgBouncer in transaction mode, which keeps neither named statements nor settings: HOB_DB_PREPARE=off. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "db_harness.h"

#define PGBOUNCER "/usr/sbin/pgbouncer"

static char pooler_url[160];
static pid_t pooler;

static void write_file(const char *name, const char *format, ...) HOB_PRINTF(2, 3);
static void write_file(const char *name, const char *format, ...) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", server.dir, name);
    FILE *file = fopen(path, "w");
    va_list args;
    va_start(args, format);
    assert_non_null(file);
    assert_true(vfprintf(file, format, args) > 0);
    va_end(args);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0644), 0);
}

static void start_pooler(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/pgbouncer.ini", server.dir);
    pooler = server_spawn(PGBOUNCER, (char *[]){"pgbouncer", "-q", path, NULL});
    for (int i = 0; i < 200 && PQping(pooler_url) != PQPING_OK; i++)
        server_sleep_ms(50);
    if (PQping(pooler_url) != PQPING_OK) {
        fprintf(stderr, "%s does not start (apt install pgbouncer)\n", PGBOUNCER);
        exit(1);
    }
}

/* Unlike the server it is not ours to end in order. */
static void stop_pooler(void) {
    if (pooler > 0 && kill(pooler, SIGKILL) == 0)
        waitpid(pooler, NULL, 0);
    pooler = 0;
}

static int create_pooler(void **state) {
    if (create_server(state))
        return -1;
    write_file("users", "\"hob\" \"\"\n");
    write_file("pgbouncer.ini",
               "[databases]\n* = host=%s\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = %s\nlisten_port = 6432\n"
               "auth_type = trust\nauth_file = %s/users\npool_mode = transaction\ndefault_pool_size = 2\n",
               server.dir, server.dir, server.dir);
    snprintf(pooler_url, sizeof pooler_url, "host=%s port=6432 user=hob dbname=postgres", server.dir);
    atexit(stop_pooler);
    start_pooler();
    return 0;
}

static int open_behind_pooler(void **state) {
    if (open_loop(state))
        return -1;
    config.database_url = pooler_url;
    config.db_prepare = false;
    config.db_statement_timeout = 300 * HOB_MS;
    open_warm_db();
    server_sql("DELETE FROM item");
    return 0;
}

#define POOLER_TEST(name) cmocka_unit_test_setup_teardown(name, open_behind_pooler, close_all)

/* Four connections of ours share two of the pooler's. */
static void reads_and_writes_pass(void **state) {
    (void)state;
    static const hob_query insert = HOB_WRITE("INSERT INTO item (id, name) VALUES ($1, $2) RETURNING name"),
                           divide = HOB_READ("SELECT (6 / $1)::text");
    hob_param rows[10][2];
    const hob_param good = hob_int(2), bad = hob_int(0);
    for (int i = 0; i < 10; i++) {
        rows[i][0] = hob_int(i);
        rows[i][1] = hob_null();
        ask_within(20000, insert, rows[i], 2);
    }
    finish_all();
    for (int i = 0; i < 10; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
    forget_actors();
    warm(divide, &good, 1);
    for (int i = 0; i < 40; i++)
        ask_within(20000, divide, i == 20 ? &bad : &good, 1);
    finish_all();
    for (int i = 0; i < 40; i++)
        assert_int_equal(actors[i].outcome, i == 20 ? HOB_OUTCOME_CHECK : HOB_OUTCOME_GOOD);
    assert_string_equal(server_sql("SELECT count(*) FROM item"), "10");
    assert_int_equal(hob__db_counters(db)->prepares, 0);
    assert_int_equal(hob__db_counters(db)->lost, 0);
    assert_true(hob__db_counters(db)->batches < hob__db_counters(db)->queries);
}

static void timeouts_hold_and_stay_with_their_transaction(void **state) {
    (void)state;
    actor *slow = ask_read("SELECT pg_sleep(5)"), *setting = ask_read("SELECT current_setting('statement_timeout')");
    finish_all();
    assert_int_equal(slow->outcome, HOB_OUTCOME_TIMEOUT);
    assert_string_equal(slow->rows->sqlstate, "57014");
    assert_value(setting, "300ms");
    PGconn *other = PQconnectdb(pooler_url);
    PGresult *result = PQexec(other, "SHOW statement_timeout");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    assert_string_equal(PQgetvalue(result, 0, 0), "0");
    PQclear(result);
    PQfinish(other);
}

static void act_tx(actor *self) {
    hob_db_tx_state *tx =
        hob__db_begin(db, &self->task, (hob_tx_options){.isolation = HOB_TX_REPEATABLE_READ}, &self->outcome);
    static const hob_query queries[] = {HOB_WRITE("INSERT INTO item (id, size) VALUES ($1, 1)"),
                                        HOB_WRITE("UPDATE item SET size = size + 1 WHERE id = $1"),
                                        HOB_READ("SELECT pg_backend_pid()::text, $1::bigint")};
    for (size_t i = 0; tx && i < 3; i++)
        self->rows = hob__db_tx_query(tx, &queries[i], self->params, 1);
    if (tx)
        self->outcome = hob__db_commit(tx);
}

static void transactions_pass(void **state) {
    (void)state;
    static hob_param ids[12];
    for (int i = 0; i < 12; i++) {
        ids[i] = hob_int(i);
        act(act_tx, 20000)->params = &ids[i];
    }
    finish_all();
    for (int i = 0; i < 12; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_GOOD);
    assert_string_equal(server_sql("SELECT count(*) || ' ' || sum(size) FROM item"), "12 24");
}

/* The pooler keeps its clients when sessions behind it end. */
static void sessions_ended_behind_it_do_no_harm(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        server_sql("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
                   "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
        for (int i = 0; i < 8; i++)
            ask_read("SELECT 'x'");
        finish_all();
        for (int i = 0; i < 8; i++)
            assert_value(&actors[i], "x");
        forget_actors();
    }
}

static void a_pooler_that_goes_is_found_again(void **state) {
    (void)state;
    actor *write = ask_write("SELECT 'write' FROM pg_sleep(0.2)");
    turn_ms(50);
    stop_pooler();
    finish(write);
    assert_int_equal(write->outcome, HOB_OUTCOME_UNKNOWN);
    actor *read = ask_read("SELECT 'x'");
    finish(read);
    assert_int_equal(read->outcome, HOB_OUTCOME_UNAVAILABLE);
    start_pooler();
    turn_until(&hob__db_counters(db)->connects, 5);
    read = ask_read("SELECT 'x'");
    finish(read);
    assert_value(read, "x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOLER_TEST(reads_and_writes_pass),
        POOLER_TEST(timeouts_hold_and_stay_with_their_transaction),
        POOLER_TEST(transactions_pass),
        POOLER_TEST(sessions_ended_behind_it_do_no_harm),
        POOLER_TEST(a_pooler_that_goes_is_found_again),
    };
    return cmocka_run_group_tests(tests, create_pooler, NULL);
}
