/* What happens when PostgreSQL, or the way to it, fails. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "data/db_private.h"
#include "db_harness.h"

static const hob_query QUICK = HOB_READ("SELECT 'quick'");

static actor *ask_quick(void) {
    return ask_within(20000, QUICK, NULL, 0);
}

/* How long until the actor has ended. */
static int64_t time_of(const actor *self) {
    int64_t began = hob__clock_ns();
    finish(self);
    return hob__clock_ns() - began;
}

static void terminate_sessions(void) {
    server_sql(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'db_test'");
}

/* ---- Deadlines ---- */

static void a_deadline_is_a_timeout_and_the_pool_recovers(void **state) {
    (void)state;
    open_warm_db();
    actor *slow = ask_within(200, (hob_query)HOB_READ("SELECT pg_sleep(10)"), NULL, 0);
    assert_true(time_of(slow) < 5 * HOB_S);
    assert_int_equal(slow->outcome, HOB_OUTCOME_TIMEOUT);
    assert_int_equal(hob__db_counters(db)->timeouts, 1);
    turn_until(&hob__db_counters(db)->connects, 5);
    for (int i = 0; i < 8; i++)
        ask_quick();
    finish_all();
    for (int i = 1; i < 9; i++)
        assert_value(&actors[i], "quick");
    turn_ms(1500); /* the server checks every second whether its client is still there */
    assert_string_equal(server_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"), "0");
}

/* Its batch mates keep the connection, and the forgotten result does not become theirs. */
static void a_forgotten_result_harms_nobody(void **state) {
    (void)state;
    static const hob_query SLEEP = HOB_READ("SELECT 'slept' FROM pg_sleep($1)");
    const hob_param none = hob_double(0), some = hob_double(0.4);
    config.db_max_open = 1;
    open_warm_db();
    warm(QUICK, NULL, 0);
    warm(SLEEP, &none, 1);
    actor *before = ask_quick(), *slow = ask_within(100, SLEEP, &some, 1), *behind = ask_quick();
    finish_all();
    assert_int_equal(slow->outcome, HOB_OUTCOME_TIMEOUT);
    assert_int_equal(slow->order, 1);
    assert_value(before, "quick");
    assert_value(behind, "quick");
    assert_int_equal(hob__db_counters(db)->lost, 0);
    assert_int_equal(hob__db_counters(db)->connects, 1);
}

static void who_waits_in_vain_hears_that_no_connection_was_free(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    actor *slow = ask_read("SELECT pg_sleep(0.4)");
    turn_ms(50);
    actor *late = ask_within(100, QUICK, NULL, 0), *patient = ask_quick();
    finish_all();
    assert_int_equal(late->outcome, HOB_OUTCOME_NO_FREE_CONNECTION);
    assert_true(late->order < slow->order);
    assert_value(patient, "quick");
}

static void the_cancelled_stop_waiting(void **state) {
    (void)state;
    config.db_max_open = 1;
    open_warm_db();
    actor *sent = ask_read("SELECT pg_sleep(10)");
    turn_ms(50);
    actor *unsent = ask_quick();
    turn_ms(50);
    hob__task_cancel(&unsent->task);
    finish(unsent);
    assert_int_equal(unsent->outcome, HOB_OUTCOME_CANCELLED);
    hob__task_cancel(&sent->task);
    finish(sent);
    assert_int_equal(sent->outcome, HOB_OUTCOME_CANCELLED);
    assert_int_equal(hob__db_counters(db)->timeouts, 0);
    actor *next = ask_quick();
    finish(next);
    assert_value(next, "quick");
}

static void a_deadline_that_has_passed_asks_nothing(void **state) {
    (void)state;
    open_warm_db();
    actor *self = ask_within(-1, QUICK, NULL, 0);
    finish(self);
    assert_int_equal(self->outcome, HOB_OUTCOME_TIMEOUT);
    assert_int_equal(hob__db_counters(db)->queries, 0);
}

/* ---- Lost connections ---- */

static void sessions_ended_while_idle_go_unnoticed(void **state) {
    (void)state;
    open_warm_db();
    terminate_sessions();
    for (int i = 0; i < 6; i++)
        ask_within(20000, (hob_query){"SELECT 'x'", i % 2}, NULL, 0);
    finish_all();
    for (int i = 0; i < 6; i++)
        assert_value(&actors[i], "x");
    turn_until(&hob__db_counters(db)->connects, 8);
    assert_int_equal(hob__db_counters(db)->lost, 4);
    assert_int_equal(hob__db_counters(db)->connect_failures, 0);
}

static void reads_under_way_are_sent_again_and_writes_never(void **state) {
    (void)state;
    open_warm_db();
    actor *read = ask_read("SELECT 'read' FROM pg_sleep(1.5)"), *write = ask_write("SELECT 'write' FROM pg_sleep(1.5)");
    turn_ms(100);
    terminate_sessions();
    finish_all();
    assert_value(read, "read");
    assert_int_equal(write->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_int_equal(hob__db_counters(db)->retries, 1);
}

static void a_read_is_sent_again_only_once(void **state) {
    (void)state;
    open_warm_db();
    actor *read = ask_read("SELECT 'read' FROM pg_sleep(4)");
    for (int i = 0; i < 2; i++) {
        turn_ms(200);
        terminate_sessions();
    }
    assert_true(time_of(read) < 3 * HOB_S);
    assert_int_equal(read->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_int_equal(hob__db_counters(db)->retries, 1);
}

/* A backend that is killed says nothing: what it did with a write, nobody knows. */
static void a_write_without_a_word_is_unknown(void **state) {
    (void)state;
    open_warm_db();
    actor *write = ask_write("SELECT 'write' FROM pg_sleep(5)");
    turn_ms(200);
    int pid =
        (int)strtol(server_sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT ''write''%'"), NULL, 10);
    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    finish(write);
    assert_int_equal(write->outcome, HOB_OUTCOME_UNKNOWN);
    actor *next;
    do { /* until the server has recovered */
        turn_ms(100);
        next = ask_quick();
        finish(next);
    } while (next->outcome == HOB_OUTCOME_UNAVAILABLE && actor_count < 60);
    assert_value(next, "quick");
}

static void copy_is_refused(void **state) {
    (void)state;
    open_warm_db();
    actor *copy = ask_read("COPY (SELECT 1) TO STDOUT"), *into = ask_write("COPY item FROM STDIN");
    finish_all();
    assert_int_equal(copy->outcome, HOB_OUTCOME_FAILED);
    assert_int_equal(into->outcome, HOB_OUTCOME_FAILED);
    actor *next = ask_quick();
    finish(next);
    assert_value(next, "quick");
}

/* ---- No server ---- */

static void a_stopped_server_is_unavailable_at_once_and_found_again(void **state) {
    (void)state;
    open_warm_db();
    actor *waiting = ask_read("SELECT pg_sleep(10)");
    turn_ms(100);
    server_stop();
    assert_true(time_of(waiting) < 2 * HOB_S);
    assert_int_equal(waiting->outcome, HOB_OUTCOME_UNAVAILABLE);
    assert_false(hob__db_up(db));
    turn_ms(300);
    for (int i = 0; i < 20; i++) {
        actor *self = ask_quick();
        assert_true(time_of(self) < 500 * HOB_MS);
        assert_int_equal(self->outcome, HOB_OUTCOME_UNAVAILABLE);
    }
    server_start();
    turn_until(&hob__db_counters(db)->connects, 8);
    assert_true(hob__db_up(db));
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
}

static void a_server_that_was_never_there(void **state) {
    (void)state;
    static const char *const urls[] = {"host=/nonexistent dbname=x",   "postgres://nobody@127.0.0.1:1/x",
                                       "this is no connection string", "host=localhost port=1",
                                       "host=no-such-host.invalid",    "host=localhost,no-such-host.invalid port=1,2"};
    for (size_t i = 0; i < COUNT(urls); i++) {
        config.database_url = urls[i];
        open_db();
        assert_true(time_of(ask_quick()) < 5 * HOB_S);
        assert_int_equal(actors[0].outcome, HOB_OUTCOME_UNAVAILABLE);
        turn_until(&hob__db_counters(db)->connect_failures, 1);
        assert_false(hob__db_up(db));
        close_all(state);
        assert_int_equal(open_loop(state), 0);
    }
}

/* The back-off grows: hardly more than a handful of attempts in a second. */
static void attempts_get_rarer(void **state) {
    (void)state;
    config.database_url = "host=/nonexistent dbname=x";
    open_db();
    turn_ms(1000);
    assert_in_range(hob__db_counters(db)->connect_failures, 2, 9);
}

/* A server that accepts and never says a word. */
static void a_silent_server_is_not_waited_for(void **state) {
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/hob_silent_XXXXXX", url[64];
    assert_non_null(mkdtemp(directory));
    snprintf(url, sizeof url, "host=%s dbname=x", directory);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", directory);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    config.database_url = url;
    open_db();
    actor *early = ask_quick();
    assert_true(time_of(early) < 3 * HOB_S);
    assert_int_equal(early->outcome, HOB_OUTCOME_UNAVAILABLE);
    actor *later = ask_quick();
    assert_true(time_of(later) < 500 * HOB_MS);
    assert_int_equal(later->outcome, HOB_OUTCOME_UNAVAILABLE);
    turn_until(&hob__db_counters(db)->connect_failures, 1);
    close(fd);
    unlink(address.sun_path);
    rmdir(directory);
}

/* Over a network that swallows everything, what is sent is given up after some seconds; the user's own word goes first.
 */
static void silence_of_a_network_has_an_end(void **state) {
    static const struct {
        const char *more;
        unsigned ms;
    } cases[] = {{"", 5000}, {" tcp_user_timeout=1234", 1234}};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char url[96];
        unsigned ms = 0;
        socklen_t ms_size = sizeof ms;
        snprintf(url, sizeof url, "host=127.0.0.1 port=%d dbname=x%s", ntohs(address.sin_port), cases[i].more);
        config.database_url = url;
        open_db();
        turn_ms(20);
        int client = PQsocket(db->connections[0].pg);
        assert_int_equal(getsockopt(client, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &ms_size), 0);
        assert_int_equal(ms, cases[i].ms);
        close_all(state);
        assert_int_equal(open_loop(state), 0);
    }
    close(fd);
}

/* A list of hosts: the first does not answer, the second has no address, the third is it. */
static void names_are_looked_up_and_every_host_is_tried(void **state) {
    (void)state;
    char url[256];
    snprintf(url, sizeof url, "host=localhost,no-such-host.invalid,%s port=1,2,5432 user=hob dbname=postgres",
             server.dir);
    config.database_url = url;
    config.db_max_open = config.db_max_idle = 2;
    open_warm_db();
    actor *self = ask_quick();
    finish(self);
    assert_value(self, "quick");
    assert_int_equal(hob__db_counters(db)->connect_failures, 0);
}

/* A pool that is wanted to go while it looks up its host goes in order. */
static void freed_while_looking_up(void **state) {
    (void)state;
    config.database_url = "host=no-such-host.invalid";
    open_db();
    hob__loop_turn(loop, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(a_deadline_is_a_timeout_and_the_pool_recovers),
        DB_TEST(a_forgotten_result_harms_nobody),
        DB_TEST(who_waits_in_vain_hears_that_no_connection_was_free),
        DB_TEST(the_cancelled_stop_waiting),
        DB_TEST(a_deadline_that_has_passed_asks_nothing),
        DB_TEST(sessions_ended_while_idle_go_unnoticed),
        DB_TEST(reads_under_way_are_sent_again_and_writes_never),
        DB_TEST(a_read_is_sent_again_only_once),
        DB_TEST(a_write_without_a_word_is_unknown),
        DB_TEST(copy_is_refused),
        DB_TEST(a_stopped_server_is_unavailable_at_once_and_found_again),
        DB_TEST(a_server_that_was_never_there),
        DB_TEST(attempts_get_rarer),
        DB_TEST(a_silent_server_is_not_waited_for),
        DB_TEST(silence_of_a_network_has_an_end),
        DB_TEST(names_are_looked_up_and_every_host_is_tried),
        DB_TEST(freed_while_looking_up),
    };
    return cmocka_run_group_tests(tests, create_server, NULL);
}
