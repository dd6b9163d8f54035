#include "support.h"

#include <errno.h>
#include <fcgios.h>
#include <libmemcached/memcached.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "run/port.h"

static void a_program_linked_like_this_reaches_it(void **state) {
    (void)state;
    const char *what = NULL;
    int64_t before = hob__clock_ns();
    assert_true(hob__port_reached(&what));
    assert_true(hob__clock_ns() - before < HOB_S);
}

static void the_check_leaves_signals_and_fds_alone(void **state) {
    (void)state;
    static const int numbers[] = {SIGPIPE, SIGUSR1, SIGTERM};
    const char *what;
    int next = dup(0);
    close(next);
    assert_true(hob__port_reached(&what));
    for (size_t i = 0; i < 3; i++) {
        struct sigaction action;
        sigaction(numbers[i], NULL, &action);
        assert_true(action.sa_handler == SIG_DFL);
    }
    int then = dup(0);
    close(then);
    assert_int_equal(then, next);
}

static void open_pair(int pair[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void outside_of_tasks_it_is_read_write_close(void **state) {
    (void)state;
    int pair[2];
    char buffer[8];
    open_pair(pair);
    assert_int_equal(OS_Read(pair[0], buffer, sizeof(buffer)), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(OS_Write(pair[1], (char[]){"hello"}, 5), 5);
    assert_int_equal(OS_Read(pair[0], buffer, sizeof(buffer)), 5);
    assert_memory_equal(buffer, "hello", 5);
    assert_int_equal(OS_Close(pair[1], 0), 0);
    assert_int_equal(OS_Read(pair[0], buffer, sizeof(buffer)), 0);
    assert_int_equal(OS_Close(pair[0], 1), 0); /* the peer has gone: does not wait */
    assert_int_equal(close(pair[0]), -1);
    assert_int_equal(OS_Close(-1, 1), 0);
}

static void *close_late(void *arg) {
    int *fd = arg;
    char c;
    while (recv(*fd, &c, 1, 0) > 0) { /* until the other side says that it has finished */
    }
    send(*fd, "late", 4, MSG_NOSIGNAL);
    close(*fd);
    return NULL;
}

static void closing_waits_for_the_peer(void **state) {
    (void)state;
    int pair[2];
    pthread_t thread;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(pthread_create(&thread, NULL, close_late, &pair[1]), 0);
    assert_int_equal(OS_Write(pair[0], (char[]){"answer"}, 6), 6);
    assert_int_equal(OS_Close(pair[0], 1), 0);
    pthread_join(thread, NULL);
    assert_int_equal(close(pair[1]), -1);
}

static void plain_poll_reports_and_times_out(void **state) {
    (void)state;
    int pair[2];
    open_pair(pair);
    struct pollfd fds[2] = {{.fd = pair[0], .events = POLLIN}, {.fd = pair[1], .events = POLLIN | POLLOUT}};
    assert_int_equal(poll(fds, 1, 0), 0);
    int64_t before = hob__clock_ns();
    assert_int_equal(poll(fds, 1, 3), 0);
    assert_true(hob__clock_ns() - before >= 3 * HOB_MS);
    assert_int_equal(poll(fds, 2, -1), 1);
    assert_int_equal(fds[1].revents, POLLOUT);
    close(pair[1]);
    assert_int_equal(poll(fds, 1, 1000), 1);
    assert_true(fds[0].revents & POLLHUP);
    close(pair[0]);
    assert_int_equal(poll(fds, 1, 1000), 1);
    assert_int_equal(fds[0].revents, POLLNVAL);
}

/* ---- in tasks ---- */

typedef struct fake_port {
    hob_port port; /* first */
    char calls[16];
} fake_port;

static void note(hob_port *port, char call) {
    fake_port *fake = (fake_port *)port;
    fake->calls[strlen(fake->calls)] = call;
}

static ssize_t fake_read(hob_port *port, int fd, void *buffer, size_t size) {
    (void)fd, (void)size;
    note(port, 'r');
    memcpy(buffer, "abc", 3);
    return 3;
}

static ssize_t fake_write(hob_port *port, int fd, const void *buffer, size_t size) {
    (void)fd, (void)buffer;
    note(port, 'w');
    return (ssize_t)size;
}

static int fake_close(hob_port *port, int fd) {
    (void)fd;
    note(port, 'c');
    return 0;
}

static void use_port(hob_task *task) {
    char buffer[8];
    (void)task;
    assert_int_equal(OS_Read(1000, buffer, sizeof(buffer)), 3);
    assert_int_equal(OS_Write(1000, buffer, 7), 7);
    assert_int_equal(OS_Close(1000, 1), 0);
}

static void a_tasks_port_stands_in(void **state) {
    fake_port fake = {.port = {.read = fake_read, .write = fake_write, .close = fake_close}};
    hob_task task = {.loop = *state, .deadline = HOB_FOREVER, .port = &fake.port};
    assert_true(hob__task_start(&task, use_port));
    run_to_the_end(*state);
    assert_string_equal(fake.calls, "rwc");
    assert_int_equal(OS_Read(1000, fake.calls, 1), -1); /* and not outside of it */
    assert_int_equal(errno, EBADF);
}

static void use_no_port(hob_task *task) {
    char c = 'x';
    (void)task;
    assert_int_equal(OS_Read(1000, &c, 1), -1);
    assert_int_equal(OS_Write(1000, &c, 1), -1);
    assert_int_equal(OS_Close(1000, 1), -1);
}

static void members_left_out_are_the_originals(void **state) {
    hob_port empty = {0};
    hob_task task = {.loop = *state, .deadline = HOB_FOREVER, .port = &empty}, bare;
    assert_true(hob__task_start(&task, use_no_port));
    start(*state, &bare, use_no_port);
    run_to_the_end(*state);
}

/* A task that polls; the test looks at what came out. */
typedef struct poller {
    hob_task task; /* first */
    hob_port port;
    struct pollfd fds[3];
    nfds_t count;
    int timeout, result;
    bool ended;
} poller;

static void run_poller(hob_task *task) {
    poller *p = (poller *)task;
    p->result = poll(p->fds, p->count, p->timeout);
    p->ended = true;
}

static void begin(hob_loop *loop, poller *p, nfds_t count, int timeout) {
    p->task = (hob_task){.loop = loop, .deadline = HOB_FOREVER, .port = &p->port};
    p->port = (hob_port){.parks_poll = true};
    p->count = count;
    p->timeout = timeout;
    p->ended = false;
    assert_true(hob__task_start(&p->task, run_poller));
    hob__loop_turn(loop, 0);
}

static void poll_of_one_parks(void **state) {
    int pair[2];
    open_pair(pair);
    poller p = {.fds = {{.fd = pair[0], .events = POLLIN}}};
    begin(*state, &p, 1, 5000);
    assert_false(p.ended);
    assert_int_equal(write(pair[1], "x", 1), 1);
    run_to_the_end(*state);
    assert_int_equal(p.result, 1);
    assert_int_equal(p.fds[0].revents, POLLIN);
    begin(*state, &p, 1, 5000);
    run_to_the_end(*state);
    assert_int_equal(p.result, 1);
    close(pair[0]);
    close(pair[1]);
}

static void poll_of_several_parks(void **state) {
    int a[2], b[2];
    open_pair(a);
    open_pair(b);
    poller p = {.fds = {{.fd = a[0], .events = POLLIN}, {.fd = -1, .events = POLLIN}, {.fd = b[0], .events = POLLIN}}};
    begin(*state, &p, 3, -1);
    assert_false(p.ended);
    assert_int_equal(write(b[1], "x", 1), 1);
    run_to_the_end(*state);
    assert_int_equal(p.result, 1);
    assert_int_equal(p.fds[0].revents, 0);
    assert_int_equal(p.fds[2].revents, POLLIN);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void poll_times_out(void **state) {
    int pair[2];
    open_pair(pair);
    for (nfds_t count = 0; count <= 2; count++) {
        poller p = {.fds = {{.fd = pair[0], .events = POLLIN}, {.fd = pair[1], .events = POLLIN}}};
        int64_t before = hob__clock_ns();
        begin(*state, &p, count, 3);
        run_to_the_end(*state);
        assert_int_equal(p.result, 0);
        assert_true(hob__clock_ns() - before >= 3 * HOB_MS);
    }
    close(pair[0]);
    close(pair[1]);
}

static void poll_ends_with_its_task(void **state) {
    int pair[2];
    open_pair(pair);
    poller p = {.fds = {{.fd = pair[0], .events = POLLIN}}};
    begin(*state, &p, 1, -1);
    hob__task_cancel(&p.task);
    run_to_the_end(*state);
    assert_int_equal(p.result, 0);
    close(pair[0]);
    close(pair[1]);
}

static void poll_that_need_not_wait_does_not_park(void **state) {
    int pair[2];
    open_pair(pair);
    poller p = {.fds = {{.fd = pair[0], .events = POLLIN}}};
    begin(*state, &p, 1, 0);
    assert_true(p.ended);
    assert_int_equal(p.result, 0);
    close(pair[0]);
    begin(*state, &p, 1, 5000);
    assert_true(p.ended);
    assert_int_equal(p.fds[0].revents, POLLNVAL);
    close(pair[1]);
}

static void poll_in_a_task_that_did_not_ask_blocks(void **state) {
    int pair[2];
    open_pair(pair);
    poller p = {.fds = {{.fd = pair[0], .events = POLLIN}}};
    p.task = (hob_task){.loop = *state, .deadline = HOB_FOREVER};
    p.count = 1;
    p.timeout = 2;
    assert_true(hob__task_start(&p.task, run_poller));
    hob__loop_turn(*state, 0);
    assert_true(p.ended); /* within one turn, so it did not park */
    close(pair[0]);
    close(pair[1]);
}

/* ---- libmemcached against a server that takes the connection and is silent ---- */

typedef struct cache_client {
    hob_task task; /* first */
    hob_port port;
    in_port_t server;
    memcached_return_t result;
    bool ended;
} cache_client;

static void look_up(hob_task *task) {
    cache_client *c = (cache_client *)task;
    memcached_st *mc = memcached_create(NULL);
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, 100);
    memcached_server_add(mc, "127.0.0.1", c->server);
    c->result = memcached_exist(mc, "key", 3);
    memcached_free(mc);
    c->ended = true;
}

typedef struct ticker {
    hob_task task; /* first */
    const bool *until;
    int ticks;
} ticker;

static void tick(hob_task *task) {
    ticker *t = (ticker *)task;
    while (!*t->until) {
        (void)hob__task_park(task, hob__loop_now(task->loop) + HOB_MS);
        t->ticks++;
    }
}

static void a_frozen_cache_does_not_stop_the_others(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server >= 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server, 5), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&address, &size), 0);

    cache_client c = {.port = {.parks_poll = true}, .server = ntohs(address.sin_port)};
    c.task = (hob_task){.loop = *state, .deadline = HOB_FOREVER, .port = &c.port};
    ticker t = {.task = {.loop = *state, .deadline = HOB_FOREVER}, .until = &c.ended};
    assert_true(hob__task_start(&c.task, look_up));
    assert_true(hob__task_start(&t.task, tick));
    run_to_the_end(*state);
    assert_int_not_equal(c.result, MEMCACHED_SUCCESS);
    assert_true(t.ticks >= 5); /* of about 100 */
    close(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_linked_like_this_reaches_it),
        cmocka_unit_test(the_check_leaves_signals_and_fds_alone),
        cmocka_unit_test(outside_of_tasks_it_is_read_write_close),
        cmocka_unit_test(closing_waits_for_the_peer),
        cmocka_unit_test(plain_poll_reports_and_times_out),
        LOOP_TEST(a_tasks_port_stands_in),
        LOOP_TEST(members_left_out_are_the_originals),
        LOOP_TEST(poll_of_one_parks),
        LOOP_TEST(poll_of_several_parks),
        LOOP_TEST(poll_times_out),
        LOOP_TEST(poll_ends_with_its_task),
        LOOP_TEST(poll_that_need_not_wait_does_not_park),
        LOOP_TEST(poll_in_a_task_that_did_not_ask_blocks),
        LOOP_TEST(a_frozen_cache_does_not_stop_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
