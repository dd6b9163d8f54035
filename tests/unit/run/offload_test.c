#include "support.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "run/offload.h"

static hob_offload_pool *pool;
static sem_t gate; /* a job that waits for it blocks its thread */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int entered, most_at_once, at_once;

typedef struct client {
    hob_task task; /* first */
    void (*job)(void *arg);
    void *arg;
    bool accepted, ended;
    pthread_t ran_in;
} client;

static void run_client(hob_task *task) {
    client *c = (client *)task;
    c->accepted = hob__offload(pool, task, c->job, c->arg);
    c->ended = true;
}

static void begin(hob_loop *loop, client *c, void (*job)(void *arg), void *arg) {
    *c = (client){.task = {.loop = loop, .deadline = HOB_FOREVER}, .job = job, .arg = arg};
    assert_true(hob__task_start(&c->task, run_client));
}

static int set_up(void **state) {
    if (make_loop(state) != 0)
        return -1;
    entered = most_at_once = at_once = 0;
    sem_init(&gate, 0, 0);
    pool = hob__offload_new(*state, 3);
    return pool ? 0 : -1;
}

static int tear_down(void **state) {
    hob__offload_free(pool);
    sem_destroy(&gate);
    return free_loop(state);
}

#define OFFLOAD_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

static void note_thread(void *arg) {
    *(pthread_t *)arg = pthread_self();
}

static void runs_in_another_thread(void **state) {
    client c;
    begin(*state, &c, note_thread, &c.ran_in);
    run_to_the_end(*state);
    assert_true(c.accepted);
    assert_false(pthread_equal(c.ran_in, pthread_self()));
}

static void pass_gate(void *arg) {
    (void)arg;
    pthread_mutex_lock(&mutex);
    entered++;
    at_once++;
    most_at_once = at_once > most_at_once ? at_once : most_at_once;
    pthread_mutex_unlock(&mutex);
    while (sem_wait(&gate) != 0) {
    }
    pthread_mutex_lock(&mutex);
    at_once--;
    pthread_mutex_unlock(&mutex);
}

static int entered_now(void) {
    pthread_mutex_lock(&mutex);
    int now = entered;
    pthread_mutex_unlock(&mutex);
    return now;
}

static void open_gate(int times) {
    for (int i = 0; i < times; i++)
        sem_post(&gate);
}

static void turn_until_entered(hob_loop *loop, int count) {
    int64_t end = hob__clock_ns() + 10 * HOB_S;
    while (entered_now() < count) {
        hob__loop_turn(loop, HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

static void the_loop_turns_meanwhile(void **state) {
    client c;
    begin(*state, &c, pass_gate, NULL);
    turn_until_entered(*state, 1);
    for (int i = 0; i < 5; i++) {
        hob__loop_turn(*state, 0);
        assert_false(c.ended);
    }
    open_gate(1);
    run_to_the_end(*state);
    assert_true(c.accepted);
}

static void cancel_and_deadline_wait_for_the_job(void **state) {
    client c;
    begin(*state, &c, pass_gate, NULL);
    c.task.deadline = hob__clock_ns() + HOB_MS;
    turn_until_entered(*state, 1);
    hob__task_cancel(&c.task);
    hob__task_wake(&c.task);
    hob__loop_turn(*state, 5 * HOB_MS);
    hob__loop_turn(*state, 0);
    assert_false(c.ended); /* the job may still use the fiber's stack */
    open_gate(1);
    run_to_the_end(*state);
    assert_true(c.accepted);
}

static void no_more_threads_than_told(void **state) {
    client clients[20];
    for (int i = 0; i < 20; i++)
        begin(*state, &clients[i], pass_gate, NULL);
    turn_until_entered(*state, 3);
    open_gate(20);
    run_to_the_end(*state);
    assert_int_equal(entered, 20);
    assert_in_range(most_at_once, 1, 3);
}

#define FULL (3 + HOB_OFFLOAD_QUEUE)

static void a_full_queue_refuses(void **state) {
    client *clients = calloc(FULL + 10, sizeof(*clients));
    assert_non_null(clients);
    for (int i = 0; i < 3; i++)
        begin(*state, &clients[i], pass_gate, NULL);
    turn_until_entered(*state, 3); /* all threads are taken; from here on everything queues */
    for (int i = 3; i < FULL + 10; i++)
        begin(*state, &clients[i], pass_gate, NULL);
    hob__loop_turn(*state, 0);
    for (int i = 0; i < FULL + 10; i++) {
        assert_int_equal(clients[i].ended, i >= FULL);
        assert_false(clients[i].accepted);
    }
    open_gate(FULL);
    run_to_the_end(*state);
    for (int i = 0; i < FULL; i++)
        assert_true(clients[i].accepted);
    begin(*state, &clients[0], pass_gate, NULL); /* and there is room again */
    open_gate(1);
    run_to_the_end(*state);
    assert_true(clients[0].accepted);
    free(clients);
}

static void freeing_waits_for_the_jobs(void **state) {
    client clients[10];
    for (int i = 0; i < 10; i++)
        begin(*state, &clients[i], pass_gate, NULL);
    turn_until_entered(*state, 3);
    open_gate(10);
    hob__offload_free(pool);
    pool = NULL;
    assert_int_equal(entered, 10);
    run_to_the_end(*state); /* the tasks have been woken */
    assert_true(clients[9].accepted);
}

static void no_threads_allowed(void **state) {
    client c;
    hob__offload_free(pool);
    pool = hob__offload_new(*state, 0);
    assert_non_null(pool);
    begin(*state, &c, pass_gate, NULL);
    hob__loop_turn(*state, 0);
    assert_true(c.ended);
    assert_false(c.accepted);
}

static void ask_task(void *arg) {
    *(hob_task **)arg = hob__task_self();
}

static void no_task_runs_in_a_thread(void **state) {
    client c;
    hob_task *seen = &c.task;
    begin(*state, &c, ask_task, &seen);
    run_to_the_end(*state);
    assert_null(seen);
}

static void ask_mask(void *arg) {
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    *(bool *)arg = sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGUSR1);
}

static void threads_take_no_signals(void **state) {
    client c;
    bool blocked = false;
    sigset_t own;
    begin(*state, &c, ask_mask, &blocked);
    run_to_the_end(*state);
    assert_true(blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    assert_false(sigismember(&own, SIGTERM));
}

typedef struct lookup {
    hob_task task; /* first */
    const char *host, *why;
    char address[64];
    bool found;
} lookup;

static void run_lookup(hob_task *task) {
    lookup *l = (lookup *)task;
    l->found = hob__resolve(pool, task, l->host, l->address, &l->why);
}

static lookup look_up(hob_loop *loop, const char *host) {
    static lookup l;
    l = (lookup){.task = {.loop = loop, .deadline = HOB_FOREVER}, .host = host};
    assert_true(hob__task_start(&l.task, run_lookup));
    run_to_the_end(loop);
    return l;
}

static void numeric_hosts_need_no_thread(void **state) {
    static const char *const hosts[] = {"127.0.0.1", "10.1.2.3", "::1", "2001:db8::7"};
    hob__offload_free(pool);
    pool = hob__offload_new(*state, 0);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        lookup l = look_up(*state, hosts[i]);
        assert_true(l.found);
        assert_string_equal(l.address, hosts[i]);
    }
    lookup named = look_up(*state, "localhost");
    assert_false(named.found);
    assert_non_null(named.why);
}

static void names_are_resolved(void **state) {
    lookup l = look_up(*state, "localhost");
    assert_true(l.found);
    assert_true(strcmp(l.address, "127.0.0.1") == 0 || strcmp(l.address, "::1") == 0);
    l = look_up(*state, "no..such..name");
    assert_false(l.found);
    assert_non_null(l.why);
    assert_true(strlen(l.why) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OFFLOAD_TEST(runs_in_another_thread),
        OFFLOAD_TEST(the_loop_turns_meanwhile),
        OFFLOAD_TEST(cancel_and_deadline_wait_for_the_job),
        OFFLOAD_TEST(no_more_threads_than_told),
        OFFLOAD_TEST(a_full_queue_refuses),
        OFFLOAD_TEST(freeing_waits_for_the_jobs),
        OFFLOAD_TEST(no_threads_allowed),
        OFFLOAD_TEST(no_task_runs_in_a_thread),
        OFFLOAD_TEST(threads_take_no_signals),
        OFFLOAD_TEST(numeric_hosts_need_no_thread),
        OFFLOAD_TEST(names_are_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
