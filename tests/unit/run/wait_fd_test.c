/* hob__task_wait_fd of run/task.h. */
#include "support.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct reader {
    hob_task task; /* first */
    int fd;
    uint32_t events;
    int64_t until;
    void (*body)(struct reader *self);
    hob_wake wakes[8];
    int waits;
} reader;

static void wait_once(reader *r) {
    hob_wake wake = hob__task_wait_fd(&r->task, r->fd, r->events, r->until);
    r->wakes[r->waits++] = wake;
}

static void run_reader(hob_task *task) {
    reader *r = (reader *)task;
    r->body(r);
}

static void begin(hob_loop *loop, reader *r, int fd, void (*body)(reader *self)) {
    *r = (reader){.task = {.loop = loop, .deadline = HOB_FOREVER},
                  .fd = fd,
                  .events = EPOLLIN,
                  .until = hob__clock_ns() + 5 * HOB_S,
                  .body = body};
    assert_true(hob__task_start(&r->task, run_reader));
}

static void open_pair(int pair[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void close_pair(int pair[2]) {
    close(pair[0]);
    close(pair[1]);
}

static void send_byte(int fd) {
    assert_int_equal(write(fd, "x", 1), 1);
}

static void read_thrice(reader *r) {
    for (int i = 0; i < 3; i++) {
        char c;
        wait_once(r);
        assert_int_equal(read(r->fd, &c, 1), 1);
    }
}

static void readable_again_and_again(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], read_thrice);
    for (int i = 0; i < 3; i++) {
        hob__loop_turn(*state, 0);
        assert_int_equal(r.waits, i);
        send_byte(pair[1]);
        hob__loop_turn(*state, HOB_FOREVER);
        assert_int_equal(r.waits, i + 1);
        assert_int_equal(r.wakes[i], HOB_WAKE_READY);
    }
    run_to_the_end(*state);
    close_pair(pair);
}

static void in_then_out(reader *r) {
    wait_once(r);
    r->events = EPOLLOUT;
    wait_once(r);
    r->events = EPOLLIN;
    wait_once(r); /* nobody read: still readable */
}

static void directions_change(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], in_then_out);
    send_byte(pair[1]);
    run_to_the_end(*state);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r.wakes[i], HOB_WAKE_READY);
    close_pair(pair);
}

static void peer_hangs_up(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], wait_once);
    hob__loop_turn(*state, 0);
    close(pair[1]);
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_READY);
    close(pair[0]);
}

static void time_out_and_end(reader *r) {
    r->until = hob__clock_ns() + 2 * HOB_MS;
    wait_once(r);
}

/* The task has ended and its stack serves another: the byte that comes then must find nobody. */
static void nothing_stale_after_a_timeout(void **state) {
    int pair[2];
    reader r, other;
    open_pair(pair);
    begin(*state, &r, pair[0], time_out_and_end);
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_TIMEOUT);
    hob__fiber_pool_free();
    send_byte(pair[1]);
    int64_t before = hob__clock_ns();
    hob__loop_turn(*state, 3 * HOB_MS);
    assert_true(hob__clock_ns() - before >= 3 * HOB_MS); /* not even woken */
    begin(*state, &other, pair[0], wait_once);
    run_to_the_end(*state);
    assert_int_equal(other.wakes[0], HOB_WAKE_READY);
    close_pair(pair);
}

static void nothing_stale_after_a_cancel(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], wait_once);
    hob__loop_turn(*state, 0);
    hob__task_cancel(&r.task);
    send_byte(pair[1]); /* both before the task runs: the cancel was first */
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_CANCELLED);
    hob__fiber_pool_free();
    hob__loop_turn(*state, 3 * HOB_MS);
    close_pair(pair);
}

static void wait_twice(reader *r) {
    wait_once(r);
    wait_once(r);
}

static void a_cancelled_task_does_not_wait(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], wait_twice);
    hob__loop_turn(*state, 0);
    hob__task_cancel(&r.task);
    hob__loop_turn(*state, 0);
    assert_int_equal(r.waits, 2);
    assert_int_equal(r.wakes[1], HOB_WAKE_CANCELLED);
    close_pair(pair);
}

static void a_wake_for_something_else_does_not_end_it(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], wait_once);
    for (int i = 0; i < 3; i++) {
        hob__loop_turn(*state, 0);
        hob__task_wake(&r.task);
    }
    hob__loop_turn(*state, 0);
    assert_int_equal(r.waits, 0);
    send_byte(pair[1]);
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_READY);
    close_pair(pair);
}

static int replacement[2];

/* The same number, another socket: the entry of the first is gone, or disabled for ever when a duplicate keeps it
 * alive. */
static void wait_reopen_wait(reader *r) {
    wait_once(r);
    assert_int_equal(dup2(replacement[0], r->fd), r->fd);
    wait_once(r);
}

static void fd_is_reused(void **state, bool keep_duplicate) {
    int pair[2];
    reader r;
    open_pair(pair);
    open_pair(replacement);
    int duplicate = keep_duplicate ? dup(pair[0]) : -1;
    begin(*state, &r, pair[0], wait_reopen_wait);
    send_byte(pair[1]);
    hob__loop_turn(*state, HOB_FOREVER);
    hob__loop_turn(*state, 0);
    assert_int_equal(r.waits, 1); /* the first one's byte is still there, and does not count */
    send_byte(replacement[1]);
    run_to_the_end(*state);
    assert_int_equal(r.wakes[1], HOB_WAKE_READY);
    close_pair(pair);
    close_pair(replacement);
    if (duplicate >= 0)
        close(duplicate);
}

static void fd_reused(void **state) {
    fd_is_reused(state, false);
}

static void fd_reused_while_a_duplicate_lives(void **state) {
    fd_is_reused(state, true);
}

static void what_epoll_does_not_take_is_ready(void **state) {
    reader r;
    int file = open("/proc/self/exe", O_RDONLY);
    assert_true(file >= 0);
    begin(*state, &r, file, wait_once);
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_READY);
    close(file);
    begin(*state, &r, file, wait_once); /* closed: the caller's read will say EBADF */
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_READY);
}

static void the_tasks_deadline_ends_it(void **state) {
    int pair[2];
    reader r;
    open_pair(pair);
    begin(*state, &r, pair[0], wait_twice);
    r.task.deadline = hob__clock_ns() + 2 * HOB_MS;
    run_to_the_end(*state);
    assert_int_equal(r.wakes[0], HOB_WAKE_TIMEOUT);
    assert_int_equal(r.wakes[1], HOB_WAKE_TIMEOUT);
    close_pair(pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(readable_again_and_again),
        LOOP_TEST(directions_change),
        LOOP_TEST(peer_hangs_up),
        LOOP_TEST(nothing_stale_after_a_timeout),
        LOOP_TEST(nothing_stale_after_a_cancel),
        LOOP_TEST(a_cancelled_task_does_not_wait),
        LOOP_TEST(a_wake_for_something_else_does_not_end_it),
        LOOP_TEST(fd_reused),
        LOOP_TEST(fd_reused_while_a_duplicate_lives),
        LOOP_TEST(what_epoll_does_not_take_is_ready),
        LOOP_TEST(the_tasks_deadline_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
