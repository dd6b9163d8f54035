#include "support.h"

#include <string.h>

#include "run/semaphore.h"

static hob_semaphore semaphore;
static char trace[128]; /* capital: acquired; small: given up */

static void note(char c) {
    size_t length = strlen(trace);
    if (length + 1 < sizeof(trace)) {
        trace[length] = c;
        trace[length + 1] = '\0';
    }
}

typedef struct user {
    hob_task task; /* first */
    char name;
    int64_t weight, until;
    hob_wake wake;
} user;

static void run_user(hob_task *task) {
    user *u = (user *)task;
    u->wake = hob__semaphore_acquire(&semaphore, task, u->weight, u->until);
    note(u->wake == HOB_WAKE_READY ? u->name : (char)(u->name - 'A' + 'a'));
}

static void begin(hob_loop *loop, user *u, char name, int64_t weight) {
    *u = (user){.task = {.loop = loop, .deadline = HOB_FOREVER}, .name = name, .weight = weight, .until = HOB_FOREVER};
    assert_true(hob__task_start(&u->task, run_user));
}

static int set_up(void **state) {
    trace[0] = '\0';
    hob__semaphore_init(&semaphore, 10);
    return make_loop(state);
}

#define SEMAPHORE_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, free_loop)

static void try_takes_what_is_there(void **state) {
    (void)state;
    assert_true(hob__semaphore_try(&semaphore, 6));
    assert_false(hob__semaphore_try(&semaphore, 5));
    assert_true(hob__semaphore_try(&semaphore, 4));
    assert_false(hob__semaphore_try(&semaphore, 1));
    assert_true(hob__semaphore_try(&semaphore, 0));
    assert_false(hob__semaphore_try(&semaphore, -1));
    hob__semaphore_release(&semaphore, 10);
    assert_int_equal(semaphore.taken, 0);
    assert_true(hob__semaphore_try(&semaphore, 10));
}

/* A heavy one in front: the light ones behind it wait, although they would fit. */
static void first_come_first_served(void **state) {
    user a, b, c, d;
    assert_true(hob__semaphore_try(&semaphore, 8));
    begin(*state, &a, 'A', 7);
    begin(*state, &b, 'B', 1);
    begin(*state, &c, 'C', 2);
    begin(*state, &d, 'D', 10);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "");
    assert_false(hob__semaphore_try(&semaphore, 1)); /* nor does it pass the queue */
    hob__semaphore_release(&semaphore, 4);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "");
    hob__semaphore_release(&semaphore, 4);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "ABC");
    assert_int_equal(semaphore.taken, 10);
    hob__semaphore_release(&semaphore, 9);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "ABC");
    hob__semaphore_release(&semaphore, 1);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "ABCD");
}

static void more_than_there_can_be_is_refused_at_once(void **state) {
    user a;
    begin(*state, &a, 'A', 11);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "a");
    assert_int_equal(a.wake, HOB_WAKE_TIMEOUT);
    assert_int_equal(semaphore.taken, 0);
}

/* The one who gives up is taken out of the front, the middle or the end; the others keep their order. */
static void giving_up_leaves_the_queue_whole(void **state) {
    static const struct {
        int who;
        const char *then;
    } cases[] = {{0, "aBCD"}, {1, "bACD"}, {2, "cABD"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        user u[4];
        trace[0] = '\0';
        hob__semaphore_init(&semaphore, 10);
        assert_true(hob__semaphore_try(&semaphore, 10));
        for (int k = 0; k < 3; k++)
            begin(*state, &u[k], (char)('A' + k), 3);
        hob__loop_turn(*state, 0);
        hob__task_cancel(&u[cases[i].who].task);
        hob__loop_turn(*state, 0);
        assert_int_equal(u[cases[i].who].wake, HOB_WAKE_CANCELLED);
        begin(*state, &u[3], 'D', 3);
        hob__loop_turn(*state, 0);
        hob__semaphore_release(&semaphore, 10);
        hob__loop_turn(*state, 0);
        assert_string_equal(trace, cases[i].then);
        assert_int_equal(semaphore.taken, 9);
    }
}

static void a_heavy_one_that_gives_up_lets_the_light_ones_go(void **state) {
    user a, b, c;
    assert_true(hob__semaphore_try(&semaphore, 5));
    begin(*state, &a, 'A', 6);
    a.until = hob__loop_now(*state) + 2 * HOB_MS;
    begin(*state, &b, 'B', 2);
    begin(*state, &c, 'C', 3);
    run_to_the_end(*state);
    assert_string_equal(trace, "aBC");
    assert_int_equal(a.wake, HOB_WAKE_TIMEOUT);
    assert_int_equal(semaphore.taken, 10);
}

/* What was granted is taken, even when the task is cancelled before it learns of it: it must release, so it must know.
 */
static void granted_and_cancelled_in_one_turn_is_taken(void **state) {
    user a;
    assert_true(hob__semaphore_try(&semaphore, 10));
    begin(*state, &a, 'A', 4);
    hob__loop_turn(*state, 0);
    hob__semaphore_release(&semaphore, 10);
    hob__task_cancel(&a.task);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "A");
    assert_int_equal(semaphore.taken, 4);
}

static void cancelled_before_waiting_takes_nothing(void **state) {
    user a;
    assert_true(hob__semaphore_try(&semaphore, 10));
    begin(*state, &a, 'A', 1);
    hob__task_cancel(&a.task);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "a");
    hob__semaphore_release(&semaphore, 10);
    assert_int_equal(semaphore.taken, 0);
    assert_null(semaphore.first);
}

static void a_stray_wake_takes_nothing(void **state) {
    user a;
    assert_true(hob__semaphore_try(&semaphore, 10));
    begin(*state, &a, 'A', 1);
    hob__loop_turn(*state, 0);
    hob__task_wake(&a.task);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "");
    hob__semaphore_release(&semaphore, 1);
    hob__loop_turn(*state, 0);
    assert_string_equal(trace, "A");
}

static void releasing_too_much_does_not_make_more(void **state) {
    (void)state;
    assert_true(hob__semaphore_try(&semaphore, 3));
    hob__semaphore_release(&semaphore, 5);
    hob__semaphore_release(&semaphore, -5);
    assert_int_equal(semaphore.taken, 0);
    assert_false(hob__semaphore_try(&semaphore, 11));
}

static int inside, most_inside;

static void work(hob_task *task) {
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hob__semaphore_acquire(&semaphore, task, 3, HOB_FOREVER), HOB_WAKE_READY);
        inside++;
        most_inside = inside > most_inside ? inside : most_inside;
        (void)hob__task_yield(task);
        inside--;
        hob__semaphore_release(&semaphore, 3);
    }
}

static void many_workers(void **state) {
    static hob_task tasks[100];
    inside = most_inside = 0;
    for (int i = 0; i < 100; i++)
        start(*state, &tasks[i], work);
    run_to_the_end(*state);
    assert_int_equal(most_inside, 3); /* of weight 3 each, in 10 */
    assert_int_equal(semaphore.taken, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SEMAPHORE_TEST(try_takes_what_is_there),
        SEMAPHORE_TEST(first_come_first_served),
        SEMAPHORE_TEST(more_than_there_can_be_is_refused_at_once),
        SEMAPHORE_TEST(giving_up_leaves_the_queue_whole),
        SEMAPHORE_TEST(a_heavy_one_that_gives_up_lets_the_light_ones_go),
        SEMAPHORE_TEST(granted_and_cancelled_in_one_turn_is_taken),
        SEMAPHORE_TEST(cancelled_before_waiting_takes_nothing),
        SEMAPHORE_TEST(a_stray_wake_takes_nothing),
        SEMAPHORE_TEST(releasing_too_much_does_not_make_more),
        SEMAPHORE_TEST(many_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
