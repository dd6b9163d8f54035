#include "support.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

static char trace[64];

static void note(char c) {
    size_t length = strlen(trace);
    if (length + 1 < sizeof(trace)) {
        trace[length] = c;
        trace[length + 1] = '\0';
    }
}

static int make_traced_loop(void **state) {
    trace[0] = '\0';
    return make_loop(state);
}

#define TRACED_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_traced_loop, free_loop)

typedef struct source {
    hob_watch watch; /* first */
    hob_loop *loop;
    struct source *kills;
    int calls;
} source;

static void on_source(hob_watch *watch, uint32_t events) {
    source *s = (source *)watch;
    assert_true(events & EPOLLIN);
    s->calls++;
    note('w');
    if (s->kills)
        hob__loop_unwatch(s->loop, &s->kills->watch);
}

static void open_source(hob_loop *loop, source *s) {
    *s = (source){.watch = {.fd = eventfd(1, EFD_NONBLOCK), .on_event = on_source}, .loop = loop};
    assert_true(s->watch.fd >= 0);
    assert_true(hob__loop_watch(loop, &s->watch, EPOLLIN));
}

static void watch_is_called_until_unwatched(void **state) {
    source s;
    open_source(*state, &s);
    hob__loop_turn(*state, HOB_FOREVER);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_int_equal(s.calls, 2); /* level-triggered */
    assert_true(hob__loop_rewatch(*state, &s.watch, 0));
    hob__loop_turn(*state, 0);
    assert_int_equal(s.calls, 2);
    hob__loop_unwatch(*state, &s.watch);
    assert_false(hob__loop_rewatch(*state, &s.watch, EPOLLIN));
    assert_int_equal(errno, ENOENT);
    close(s.watch.fd);
    hob__loop_unwatch(*state, &s.watch); /* harmless */
}

/* Both are readable at once; whichever is called first unwatches the other, whose event has been gathered already. */
static void unwatched_in_the_same_turn_is_not_called(void **state) {
    source a, b;
    open_source(*state, &a);
    open_source(*state, &b);
    a.kills = &b;
    b.kills = &a;
    hob__loop_turn(*state, HOB_FOREVER);
    hob__loop_turn(*state, 0);
    assert_true(a.calls == 0 || b.calls == 0);
    assert_true(a.calls + b.calls >= 1);
    close(a.watch.fd);
    close(b.watch.fd);
}

static void more_events_than_one_wait_takes(void **state) {
    static source s[300];
    for (size_t i = 0; i < 300; i++) {
        open_source(*state, &s[i]);
        s[i].kills = &s[i]; /* once is enough */
    }
    for (int turn = 0; turn < 3; turn++)
        hob__loop_turn(*state, 0);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(s[i].calls, 1);
        close(s[i].watch.fd);
    }
}

static void spend_long(hob_turn_hook *turn) {
    (void)turn;
    usleep(150 * 1000);
}

static void after_a_long_turn_all_events_are_seen_at_once(void **state) {
    static source s[300];
    hob_turn_hook slow = {.on_turn = spend_long};
    hob__loop_hook(*state, &slow);
    hob__loop_turn(*state, 0);
    hob__loop_unhook(*state, &slow);
    for (size_t i = 0; i < 300; i++) {
        open_source(*state, &s[i]);
        s[i].kills = &s[i];
    }
    hob__loop_turn(*state, 0);
    assert_true(hob__loop_last_turn(*state) >= 150 * HOB_MS);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(s[i].calls, 1);
        close(s[i].watch.fd);
    }
    hob__loop_turn(*state, 20 * HOB_MS);
    hob__loop_turn(*state, 0);
    assert_true(hob__loop_last_turn(*state) < 10 * HOB_MS); /* waiting is not working */
}

typedef struct hook {
    hob_turn_hook turn; /* first */
    char letter;
    hob_task *wakes;
} hook;

static void on_turn(hob_turn_hook *turn) {
    hook *h = (hook *)turn;
    note(h->letter);
    if (h->wakes) {
        hob__task_wake(h->wakes);
        h->wakes = NULL;
    }
}

static void on_note_timer(hob_timer *timer) {
    (void)timer;
    note('t');
}

static void park_once(hob_task *task) {
    note('1');
    assert_int_equal(hob__task_park(task, HOB_FOREVER), HOB_WAKE_READY);
    note('2');
}

static void order_of_a_turn(void **state) {
    hob_loop *loop = *state;
    source s;
    open_source(loop, &s);
    hob_timer timer = {.on_expire = on_note_timer};
    hob__timer_set(loop, &timer, 0);
    hook a = {.turn.on_turn = on_turn, .letter = 'a'}, b = {.turn.on_turn = on_turn, .letter = 'b'};
    hob__loop_hook(loop, &a.turn);
    hob__loop_hook(loop, &b.turn);
    hob_task task;
    start(loop, &task, park_once);
    b.wakes = &task;
    uint64_t turns = hob__loop_turns(loop);
    hob__loop_turn(loop, HOB_FOREVER);
    assert_string_equal(trace, "wt1ab");
    hob__loop_unwatch(loop, &s.watch);
    close(s.watch.fd);
    hob__loop_turn(loop, HOB_FOREVER); /* does not wait: a hook made a task ready */
    assert_string_equal(trace, "wt1ab2ab");
    assert_int_equal(hob__loop_turns(loop) - turns, 2);
}

static void a_hook_can_be_taken_off(void **state) {
    hook hooks[3];
    for (int gone = 0; gone < 3; gone++) {
        trace[0] = '\0';
        for (int i = 0; i < 3; i++) {
            hooks[i] = (hook){.turn.on_turn = on_turn, .letter = (char)('a' + i)};
            hob__loop_hook(*state, &hooks[i].turn);
        }
        hob__loop_unhook(*state, &hooks[gone].turn);
        hob__loop_hook(*state, &hooks[gone].turn); /* again, at the end */
        hob__loop_turn(*state, 0);
        assert_string_equal(trace, gone == 0 ? "bca" : gone == 1 ? "acb" : "abc");
        for (int i = 0; i < 3; i++)
            hob__loop_unhook(*state, &hooks[i].turn);
        hob__loop_turn(*state, 0);
        assert_int_equal(strlen(trace), 3);
    }
}

static void on_stop_timer(hob_timer *timer) {
    (void)timer;
    note('t');
    hob__loop_stop(*(hob_loop **)(timer + 1));
}

static void run_ends_with_stop(void **state) {
    struct {
        hob_timer timer;
        hob_loop *loop;
    } stopper = {.timer.on_expire = on_stop_timer, .loop = *state};
    for (size_t i = 1; i <= 2; i++) {
        hob__timer_set(*state, &stopper.timer, hob__clock_ns() + HOB_MS);
        hob__loop_run(*state);
        assert_int_equal(strlen(trace), i);
    }
}

static hob_loop *signalled;

static void on_alarm(int number) {
    (void)number;
    hob__loop_wake_from_signal(signalled);
}

static void on_signal(void *arg) {
    note('s');
    hob__loop_stop(arg);
}

static void signal_ends_a_wait(void **state) {
    signalled = *state;
    hob__loop_on_signal(*state, on_signal, *state);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval soon = {.it_value.tv_usec = 5000};
    setitimer(ITIMER_REAL, &soon, NULL);
    hob__loop_run(*state);
    assert_string_equal(trace, "s");
    raise(SIGALRM); /* before the wait begins: not lost */
    raise(SIGALRM);
    hob__loop_run(*state);
    assert_string_equal(trace, "ss");
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "ss");
    sigaction(SIGALRM, &before, NULL);
}

static volatile uint64_t pulse_at_alarm;

static void on_alarm_take_pulse(int number) {
    (void)number;
    pulse_at_alarm = hob__loop_pulse(signalled);
}

static void take_pulse(hob_task *task) {
    for (int i = 0; i < 3; i++) {
        uint64_t before = hob__loop_pulse(task->loop);
        assert_int_equal(before % 2, 0);
        (void)hob__task_yield(task);
        assert_true(hob__loop_pulse(task->loop) != before);
    }
}

static void the_pulse_tells_work_from_waiting(void **state) {
    signalled = *state;
    struct sigaction action = {.sa_handler = on_alarm_take_pulse}, before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval soon = {.it_value.tv_usec = 20000};
    setitimer(ITIMER_REAL, &soon, NULL);
    hob__loop_turn(*state, 10 * HOB_S);
    assert_int_equal(pulse_at_alarm % 2, 1);
    sigaction(SIGALRM, &before, NULL);
    hob_task task;
    start(*state, &task, take_pulse);
    run_to_the_end(*state);
}

static void waking_leaves_errno_alone(void **state) {
    for (int i = 0; i < 3; i++) {
        errno = ENOTTY;
        hob__loop_wake_from_signal(*state);
        assert_int_equal(errno, ENOTTY);
    }
}

static void a_turn_waits_no_longer_than_told(void **state) {
    int64_t before = hob__clock_ns();
    hob__loop_turn(*state, 2 * HOB_MS);
    assert_true(hob__loop_now(*state) >= before + 2 * HOB_MS);
    assert_true(hob__loop_now(*state) < before + 5 * HOB_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TRACED_TEST(watch_is_called_until_unwatched),
        TRACED_TEST(unwatched_in_the_same_turn_is_not_called),
        TRACED_TEST(more_events_than_one_wait_takes),
        TRACED_TEST(after_a_long_turn_all_events_are_seen_at_once),
        TRACED_TEST(order_of_a_turn),
        TRACED_TEST(a_hook_can_be_taken_off),
        TRACED_TEST(run_ends_with_stop),
        TRACED_TEST(signal_ends_a_wait),
        TRACED_TEST(the_pulse_tells_work_from_waiting),
        TRACED_TEST(waking_leaves_errno_alone),
        TRACED_TEST(a_turn_waits_no_longer_than_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
