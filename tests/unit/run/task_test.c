#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A task that parks a number of times and keeps what the parks returned. */
typedef struct sleeper {
    hob_task task; /* first */
    int64_t until;
    int parks;
    void (*first)(struct sleeper *self);
    int woke;
    hob_wake wakes[8];
    bool ended;
} sleeper;

static void run_sleeper(hob_task *task) {
    sleeper *s = (sleeper *)task;
    if (s->first)
        s->first(s);
    for (int i = 0; i < s->parks; i++) {
        hob_wake wake = hob__task_park(task, s->until);
        s->wakes[s->woke++] = wake;
    }
    s->ended = true;
}

static sleeper sleeping(hob_loop *loop, int64_t until, int parks) {
    return (sleeper){.task = {.loop = loop, .deadline = HOB_FOREVER}, .until = until, .parks = parks};
}

static void begin(sleeper *s) {
    assert_true(hob__task_start(&s->task, run_sleeper));
    hob__loop_turn(s->task.loop, 0);
}

static int64_t soon(hob_loop *loop) {
    return hob__loop_now(loop) + 5 * HOB_MS;
}

static void wake_ends_a_park(void **state) {
    sleeper s = sleeping(*state, HOB_FOREVER, 2);
    begin(&s);
    assert_int_equal(s.woke, 0);
    hob__task_wake(&s.task);
    hob__task_wake(&s.task); /* idempotent: the second park sleeps */
    hob__loop_turn(*state, HOB_FOREVER);
    assert_int_equal(s.woke, 1);
    hob__loop_turn(*state, 0);
    assert_int_equal(s.woke, 1);
    hob__task_wake(&s.task);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_true(s.ended);
    assert_int_equal(s.wakes[0], HOB_WAKE_READY);
    assert_int_equal(s.wakes[1], HOB_WAKE_READY);
}

static void wake_self(sleeper *s) {
    hob__task_wake(&s->task);
    hob__task_wake(&s->task);
}

static void wake_before_park_counts_once(void **state) {
    sleeper s = sleeping(*state, soon(*state), 2);
    s.first = wake_self;
    begin(&s);
    assert_int_equal(s.woke, 1);
    assert_int_equal(s.wakes[0], HOB_WAKE_READY);
    run_to_the_end(*state);
    assert_int_equal(s.wakes[1], HOB_WAKE_TIMEOUT);
}

static void the_earlier_deadline_ends_a_park(void **state) {
    static const struct {
        int64_t until, deadline; /* ms; 0: forever */
    } cases[] = {{3, 0}, {0, 3}, {3, 60000}, {60000, 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t now = hob__clock_ns();
        sleeper s = sleeping(*state, cases[i].until ? now + cases[i].until * HOB_MS : HOB_FOREVER, 1);
        s.task.deadline = cases[i].deadline ? now + cases[i].deadline * HOB_MS : HOB_FOREVER;
        begin(&s);
        run_to_the_end(*state);
        assert_int_equal(s.wakes[0], HOB_WAKE_TIMEOUT);
        assert_true(hob__loop_now(*state) >= now + 3 * HOB_MS);
    }
}

static void a_passed_deadline_does_not_park(void **state) {
    sleeper s = sleeping(*state, hob__loop_now(*state) - 1, 3);
    begin(&s);
    assert_true(s.ended);
    assert_int_equal(s.wakes[2], HOB_WAKE_TIMEOUT);
}

static void a_woken_task_leaves_no_timer(void **state) {
    sleeper s = sleeping(*state, soon(*state), 1);
    begin(&s);
    hob__task_wake(&s.task);
    hob__loop_turn(*state, 0);
    assert_true(s.ended);
    memset(&s, 0xa5, sizeof(s)); /* a timer left behind would call through this */
    hob__loop_turn(*state, 20 * HOB_MS);
}

static void cancel_ends_a_park_and_all_that_follow(void **state) {
    sleeper s = sleeping(*state, HOB_FOREVER, 3);
    begin(&s);
    hob__task_cancel(&s.task);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_true(s.ended);
    for (int i = 0; i < 3; i++)
        assert_int_equal(s.wakes[i], HOB_WAKE_CANCELLED);
}

static int cancels;

static void count_cancel(hob_task *task, void *arg) {
    assert_true(task->cancelled);
    assert_ptr_equal(arg, &cancels);
    cancels++;
}

static void cancel_self(sleeper *s) {
    s->task.on_cancel = count_cancel;
    s->task.on_cancel_arg = &cancels;
    hob__task_cancel(&s->task);
    hob__task_cancel(&s->task);
}

static void cancel_while_running_is_told_once(void **state) {
    sleeper s = sleeping(*state, HOB_FOREVER, 1);
    cancels = 0;
    s.first = cancel_self;
    begin(&s);
    assert_true(s.ended);
    assert_int_equal(s.wakes[0], HOB_WAKE_CANCELLED);
    assert_int_equal(cancels, 1);
}

static void park_surely_twice(sleeper *s) {
    hob__task_park_surely(&s->task);
    s->woke++;
    hob__task_wake(&s->task);
    hob__task_park_surely(&s->task);
    s->woke++;
}

static void nothing_but_a_wake_ends_a_sure_park(void **state) {
    sleeper s = sleeping(*state, HOB_FOREVER, 0);
    s.first = park_surely_twice;
    s.task.deadline = hob__loop_now(*state) + HOB_MS;
    begin(&s);
    hob__task_cancel(&s.task);
    hob__loop_turn(*state, 5 * HOB_MS);
    assert_int_equal(s.woke, 0);
    hob__task_wake(&s.task);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_int_equal(s.woke, 2);
    assert_true(s.ended);
}

typedef struct waker {
    hob_timer timer; /* first */
    hob_task *task;
} waker;

static void on_waker(hob_timer *timer) {
    hob__task_wake(((waker *)timer)->task);
}

/* Both timers are due in the same turn: the task's first, then the one that brings what it waits for. */
static void a_wake_after_the_timeout_but_before_it_ran_wins(void **state) {
    sleeper s = sleeping(*state, hob__clock_ns() + 100 * HOB_MS, 1); /* it must be asleep by then */
    waker w = {.timer.on_expire = on_waker, .task = &s.task};
    begin(&s);
    hob__timer_set(*state, &w.timer, s.until + 1);
    while (hob__clock_ns() <= s.until + 1) {
    }
    hob__loop_turn(*state, 0);
    assert_true(s.ended);
    assert_int_equal(s.wakes[0], HOB_WAKE_READY);
}

static char trace[256];

static void note(char c) {
    size_t length = strlen(trace);
    if (length + 1 < sizeof(trace)) {
        trace[length] = c;
        trace[length + 1] = '\0';
    }
}

static void note_and_yield(hob_task *task) {
    note('a');
    assert_int_equal(hob__task_yield(task), HOB_WAKE_READY);
    note('b');
    task->deadline = hob__loop_now(task->loop);
    assert_int_equal(hob__task_yield(task), HOB_WAKE_TIMEOUT);
    hob__task_cancel(task);
    assert_int_equal(hob__task_yield(task), HOB_WAKE_CANCELLED);
}

static void note_x(hob_task *task) {
    (void)task;
    note('x');
}

static void yield_continues_in_the_next_turn(void **state) {
    hob_task task, other, third;
    trace[0] = '\0';
    start(*state, &task, note_and_yield);
    start(*state, &other, note_x);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_string_equal(trace, "ax");
    start(*state, &third, note_x);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_string_equal(trace, "axxb");
    hob__loop_turn(*state, HOB_FOREVER); /* neither waits */
    hob__loop_turn(*state, HOB_FOREVER);
    assert_int_equal(hob__fiber_count().live, 0);
}

static void wake_survives_a_yield(sleeper *s) {
    hob__task_wake(&s->task);
    assert_int_equal(hob__task_yield(&s->task), HOB_WAKE_READY);
}

static void a_wake_before_a_yield_counts_for_the_park_behind_it(void **state) {
    sleeper s = sleeping(*state, soon(*state), 1);
    s.first = wake_survives_a_yield;
    begin(&s);
    hob__loop_turn(*state, 0);
    assert_true(s.ended);
    assert_int_equal(s.wakes[0], HOB_WAKE_READY);
}

static hob_task nested[4];

static void start_next(hob_task *task) {
    note('0' + (char)(task - nested));
    if (task < nested + 3)
        start(task->loop, task + 1, start_next);
}

static void what_tasks_start_runs_in_the_same_turn(void **state) {
    trace[0] = '\0';
    start(*state, nested, start_next);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_string_equal(trace, "0123");
}

static hob_task pair[2];
static long swings;

static void swing(hob_task *task) {
    while (!task->cancelled) {
        swings++;
        hob__task_wake(&pair[task == pair]);
        (void)hob__task_park(task, HOB_FOREVER);
    }
}

static void tasks_that_wake_each_other_do_not_hold_the_turn(void **state) {
    swings = 0;
    start(*state, &pair[0], swing);
    start(*state, &pair[1], swing);
    hob__loop_turn(*state, HOB_FOREVER);
    assert_in_range(swings, 2, 1000);
    hob__loop_turn(*state, HOB_FOREVER); /* and the next one does not wait */
    assert_in_range(swings, 4, 2000);
    hob__task_cancel(&pair[0]);
    hob__task_cancel(&pair[1]);
    run_to_the_end(*state);
}

static void free_self(hob_task *task) {
    (void)hob__task_yield(task);
    free(task);
}

static void the_task_may_be_freed_by_its_function(void **state) {
    hob_task *task = malloc(sizeof(*task));
    assert_non_null(task);
    start(*state, task, free_self);
    run_to_the_end(*state);
}

static void *ask_self(void *arg) {
    *(hob_task **)arg = hob__task_self();
    return NULL;
}

static void compare_self(hob_task *task) {
    hob_task *elsewhere = task;
    pthread_t thread;
    assert_ptr_equal(hob__task_self(), task);
    assert_int_equal(pthread_create(&thread, NULL, ask_self, &elsewhere), 0);
    pthread_join(thread, NULL);
    assert_null(elsewhere);
}

static void self_is_the_running_task(void **state) {
    hob_task task;
    assert_null(hob__task_self());
    start(*state, &task, compare_self);
    run_to_the_end(*state);
    assert_null(hob__task_self());
}

#define MANY (UNDER_ASAN ? 2000 : 10000)

static size_t resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Sleeps long enough to be counted, then for a time that is told relative to that. */
static void sleep_until_counted(sleeper *s) {
    assert_int_equal(hob__task_park(&s->task, hob__loop_now(s->task.loop) + 3600 * HOB_S), HOB_WAKE_READY);
    s->until += hob__loop_now(s->task.loop);
}

static void many_sleep_cheaply(void **state) {
    sleeper *many = calloc(MANY, sizeof(*many));
    assert_non_null(many);
    memset(many, 0xff, MANY * sizeof(*many)); /* their own memory is the caller's and not counted */
    size_t before = resident();
    for (int i = 0; i < MANY; i++) {
        many[i] = sleeping(*state, 10 * HOB_MS + i * 5 * HOB_US, 1);
        many[i].first = sleep_until_counted;
        assert_true(hob__task_start(&many[i].task, run_sleeper));
    }
    hob__loop_turn(*state, 0);
    assert_int_equal(hob__fiber_count().live, MANY);
    if (MEMORY_IS_OURS)
        assert_true((resident() - before) / MANY < 10 * 1024);
    for (int i = 0; i < MANY; i++)
        hob__task_wake(&many[i].task);
    run_to_the_end(*state);
    for (int i = 0; i < MANY; i++) {
        assert_true(many[i].ended);
        assert_int_equal(many[i].wakes[0], HOB_WAKE_TIMEOUT);
    }
    free(many);
}

static void no_fiber_to_be_had(void **state) {
    if (!MEMORY_IS_OURS)
        skip();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        setrlimit(RLIMIT_AS, &(struct rlimit){64 * 1024 * 1024, 64 * 1024 * 1024});
        static sleeper s[1000];
        int started = 0;
        do {
            s[started] = sleeping(*state, HOB_FOREVER, 1);
        } while (hob__task_start(&s[started].task, run_sleeper) && ++started < 1000);
        hob__loop_turn(*state, 0);
        hob__task_cancel(&s[0].task);
        hob__loop_turn(*state, 0);
        _exit(started < 1000 && s[0].ended && hob__task_start(&s[started].task, run_sleeper) ? 42 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status),
                     42); /* some started, one did not, and then one on the stack that was given back */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(wake_ends_a_park),
        LOOP_TEST(wake_before_park_counts_once),
        LOOP_TEST(the_earlier_deadline_ends_a_park),
        LOOP_TEST(a_passed_deadline_does_not_park),
        LOOP_TEST(a_woken_task_leaves_no_timer),
        LOOP_TEST(cancel_ends_a_park_and_all_that_follow),
        LOOP_TEST(cancel_while_running_is_told_once),
        LOOP_TEST(nothing_but_a_wake_ends_a_sure_park),
        LOOP_TEST(a_wake_after_the_timeout_but_before_it_ran_wins),
        LOOP_TEST(yield_continues_in_the_next_turn),
        LOOP_TEST(a_wake_before_a_yield_counts_for_the_park_behind_it),
        LOOP_TEST(what_tasks_start_runs_in_the_same_turn),
        LOOP_TEST(tasks_that_wake_each_other_do_not_hold_the_turn),
        LOOP_TEST(the_task_may_be_freed_by_its_function),
        LOOP_TEST(self_is_the_running_task),
        LOOP_TEST(many_sleep_cheaply),
        LOOP_TEST(no_fiber_to_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
