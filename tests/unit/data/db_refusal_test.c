/* A server that is there and refuses: connections, or writes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "db_harness.h"

static char log_path[96];

static int create_refusing_server(void **state) {
    char hba[128];
    if (create_server(state))
        return -1;
    server_sql("CREATE ROLE locked LOGIN PASSWORD 'secret'; CREATE ROLE few LOGIN CONNECTION LIMIT 2;"
               "CREATE ROLE reader LOGIN; GRANT ALL ON item TO reader");
    snprintf(hba, sizeof hba, "%s/pg_hba.conf", server.dir);
    FILE *file = fopen(hba, "w");
    bool written = file && fputs("local all locked scram-sha-256\nlocal all all trust\n", file) >= 0;
    if (!file || fclose(file) || !written)
        return -1;
    server_sql("SELECT pg_reload_conf()");
    server_sleep_ms(300);
    return 0;
}

static const char *url_of(const char *user) {
    static char url[192];
    snprintf(url, sizeof url, "host=%s user=%s password=wrong dbname=postgres", server.dir, user);
    return url;
}

static int lines_with(const char *text) {
    char line[4096];
    int count = 0;
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

static void begin_log(void) {
    snprintf(log_path, sizeof log_path, "%s/log", server.dir);
    unlink(log_path);
    assert_true(hob__log_open(log_path, HOB_LOG_INFO));
}

/* For so long, a request every few milliseconds, none of which may wait. */
static void ask_for(int64_t ms, hob_outcome expected) {
    for (int64_t end = hob__clock_ns() + ms * HOB_MS; hob__clock_ns() < end;) {
        int64_t began = hob__clock_ns();
        actor *self = ask_read("SELECT 'x'");
        finish(self);
        assert_int_equal(self->outcome, expected);
        assert_true(hob__clock_ns() - began < 500 * HOB_MS);
        forget_actors();
        turn_ms(5);
    }
}

/* One line an attempt, and attempts are rarer than requests. */
static void a_wrong_password_is_logged_once_an_attempt(void **state) {
    (void)state;
    begin_log();
    config.database_url = url_of("locked");
    open_db();
    turn_until(&hob__db_counters(db)->connect_failures, 1);
    ask_for(1600, HOB_OUTCOME_UNAVAILABLE);
    uint64_t attempts = hob__db_counters(db)->connect_failures;
    assert_in_range(attempts, 3, 8);
    assert_int_equal(lines_with("password authentication failed"), attempts);
    assert_int_equal(lines_with("\"msg\""), attempts);
    assert_int_equal(lines_with("wrong\""), 0);
}

/* Two may connect: they do the work, and the others keep trying. */
static void too_many_connections_are_not_needed(void **state) {
    (void)state;
    begin_log();
    config.database_url = url_of("few");
    open_db();
    turn_until(&hob__db_counters(db)->connects, 2);
    turn_until(&hob__db_counters(db)->connect_failures, 1);
    ask_for(1000, HOB_OUTCOME_GOOD);
    assert_int_equal(hob__db_counters(db)->connects, 2);
    assert_int_equal(lines_with("too many connections"), hob__db_counters(db)->connect_failures);
    assert_in_range(hob__db_counters(db)->connect_failures, 2, 9);
    server_sql("ALTER ROLE few CONNECTION LIMIT 10");
    turn_until(&hob__db_counters(db)->connects, 4);
    server_sql("ALTER ROLE few CONNECTION LIMIT 2");
}

/* A read whose connection broke does not wait for one that can't be had. */
static void what_was_lost_goes_over_the_connections_left(void **state) {
    (void)state;
    config.database_url = url_of("few");
    open_db();
    turn_until(&hob__db_counters(db)->connects, 2);
    turn_until(&hob__db_counters(db)->connect_failures, 6); /* the next attempt is in a second at the earliest */
    actor *slow = ask_read("SELECT pg_sleep(1.5)"), *read = ask_read("SELECT 'read' FROM pg_sleep(0.7)");
    turn_ms(100);
    server_sql("ALTER ROLE few CONNECTION LIMIT 1");
    server_sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'SELECT ''read''%'");
    finish_all();
    server_sql("ALTER ROLE few CONNECTION LIMIT 2");
    assert_int_equal(slow->outcome, HOB_OUTCOME_GOOD);
    assert_value(read, "read");
}

/* The back-off goes up to five seconds, but not while somebody asks. */
static void a_server_that_returns_is_found_within_a_second(void **state) {
    (void)state;
    open_warm_db();
    server_stop();
    ask_for(4000, HOB_OUTCOME_UNAVAILABLE);
    server_start();
    int64_t returned = hob__clock_ns();
    actor *self;
    do {
        forget_actors();
        self = ask_read("SELECT 'x'");
        finish(self);
        turn_ms(5);
    } while (self->outcome == HOB_OUTCOME_UNAVAILABLE && hob__clock_ns() - returned < 10 * HOB_S);
    assert_value(self, "x");
    assert_true(hob__clock_ns() - returned < HOB_S);
}

/* ---- Read-only ---- */

static const char WRITE[] = "INSERT INTO item (id) VALUES (1)";

static void a_write_that_a_read_only_server_refuses(void **state) {
    (void)state;
    config.database_url = url_of("reader");
    open_warm_db();
    turn_ms(1100); /* connections that are younger are not suspected */
    server_sql("ALTER ROLE reader SET default_transaction_read_only = on");
    server_sql("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'reader'");
    turn_until(&hob__db_counters(db)->connects, 8);
    turn_ms(1100);
    actor *write = ask_write(WRITE), *read = ask_read("SELECT 'x'");
    finish_all();
    assert_int_equal(write->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_value(read, "x");
    turn_until(&hob__db_counters(db)->connects, 12); /* all are replaced: there may be another primary by now */
    forget_actors();
    for (int i = 0; i < 20; i++)
        finish(ask_write(WRITE));
    for (int i = 0; i < 20; i++)
        assert_int_equal(actors[i].outcome, HOB_OUTCOME_UNAVAILABLE);
    turn_ms(50);
    assert_int_equal(hob__db_counters(db)->connects, 12); /* but not again and again */
    server_sql("ALTER ROLE reader SET default_transaction_read_only = off");
    turn_ms(1100);
    do {
        forget_actors();
        write = ask_write(WRITE);
        finish(write);
        turn_ms(20);
    } while (write->outcome == HOB_OUTCOME_UNAVAILABLE && hob__db_counters(db)->connects < 40);
    assert_int_equal(write->outcome, HOB_OUTCOME_GOOD);
    server_sql("DELETE FROM item");
}

static void act_read_only_tx(actor *self) {
    hob_db_tx_state *tx = hob__db_begin(db, &self->task, (hob_tx_options){.read_only = true}, &self->outcome);
    if (!tx)
        return;
    self->rows = hob__db_tx_query(tx, &self->query, NULL, 0);
    self->outcome = hob__db_commit(tx);
}

/* That is the program's mistake, and no reason to suspect the server. */
static void a_write_in_a_read_only_transaction(void **state) {
    (void)state;
    open_warm_db();
    turn_ms(1100);
    actor *self = act(act_read_only_tx, 20000);
    self->query = (hob_query)HOB_WRITE(WRITE);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_FAILED);
    turn_ms(50);
    assert_int_equal(hob__db_counters(db)->lost, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(a_wrong_password_is_logged_once_an_attempt),   DB_TEST(too_many_connections_are_not_needed),
        DB_TEST(what_was_lost_goes_over_the_connections_left), DB_TEST(a_server_that_returns_is_found_within_a_second),
        DB_TEST(a_write_that_a_read_only_server_refuses),      DB_TEST(a_write_in_a_read_only_transaction),
    };
    return cmocka_run_group_tests(tests, create_refusing_server, NULL);
}
