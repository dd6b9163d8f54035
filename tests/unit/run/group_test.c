#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "run/group.h"

#define NOT_RUN 99
#define MAX 20

typedef struct work {
    hob_branch branch; /* first */
    int turns;         /* yields before it ends; -1: sleeps until it is cancelled */
    int result;
    hob_wake wake;
    bool ran;
} work;

/* One owner; what it does is the test's. */
typedef struct scene {
    hob_task owner; /* first */
    void (*body)(struct scene *scene);
    hob_task_group group;
    work work[MAX];
    int failure;
    hob_branch *failed;
    bool ended;
} scene;

static size_t running, most_running;

static int run_work(hob_branch *branch) {
    work *w = (work *)branch;
    w->ran = true;
    running++;
    most_running = running > most_running ? running : most_running;
    if (w->turns < 0)
        w->wake = hob__task_park(&branch->task, HOB_FOREVER);
    for (int i = 0; i < w->turns && w->wake == HOB_WAKE_READY; i++)
        w->wake = hob__task_yield(&branch->task);
    running--;
    return w->wake == HOB_WAKE_CANCELLED ? 499 : w->wake == HOB_WAKE_TIMEOUT ? 504 : w->result;
}

static void go(scene *s, int i, int turns, int result) {
    s->work[i] = (work){.turns = turns, .result = result};
    hob__group_go(&s->group, &s->work[i].branch, run_work, NOT_RUN);
}

/* hob__group_go fills in the branch alone: what the work says stays. */
static void run_scene(hob_task *task) {
    scene *s = (scene *)task;
    hob__group_init(&s->group, task);
    s->body(s);
    s->failure = hob__group_wait(&s->group, &s->failed);
    s->ended = true;
    assert_null(task->on_cancel);
}

static scene *begin(hob_loop *loop, void (*body)(scene *s)) {
    static scene s;
    running = most_running = 0;
    s = (scene){.owner = {.loop = loop, .deadline = HOB_FOREVER}, .body = body};
    assert_true(hob__task_start(&s.owner, run_scene));
    return &s;
}

static void nothing(scene *s) {
    (void)s;
}

static void an_empty_group_is_done(void **state) {
    scene *s = begin(*state, nothing);
    hob__loop_turn(*state, 0);
    assert_true(s->ended);
    assert_int_equal(s->failure, 0);
    assert_null(s->failed);
}

static void ten_that_succeed(scene *s) {
    for (int i = 0; i < 10; i++)
        go(s, i, i + 1, 0);
}

static void all_branches_are_waited_for(void **state) {
    scene *s = begin(*state, ten_that_succeed);
    run_to_the_end(*state);
    assert_true(s->ended);
    assert_int_equal(s->failure, 0);
    assert_int_equal(running, 0);
    assert_int_equal(most_running, 10);
    for (int i = 0; i < 10; i++) {
        assert_true(s->work[i].ran);
        assert_int_equal(s->work[i].wake, HOB_WAKE_READY);
    }
}

static void some_that_fail(scene *s) {
    go(s, 0, -1, 0);
    go(s, 1, 3, 404);
    go(s, 2, 5, 409);
    go(s, 3, -1, 0);
}

static void the_first_failure_cancels_the_rest(void **state) {
    scene *s = begin(*state, some_that_fail);
    run_to_the_end(*state);
    assert_int_equal(s->failure, 404);
    assert_ptr_equal(s->failed, &s->work[1].branch);
    assert_int_equal(s->work[0].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(s->work[2].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(s->work[3].wake, HOB_WAKE_CANCELLED);
}

static void limited(scene *s) {
    s->group.limit = 3;
    for (int i = 0; i < MAX; i++)
        go(s, i, 1 + i % 4, 0);
}

static void a_limit_bounds_what_runs_at_once(void **state) {
    scene *s = begin(*state, limited);
    run_to_the_end(*state);
    assert_int_equal(s->failure, 0);
    assert_int_equal(most_running, 3);
    for (int i = 0; i < MAX; i++)
        assert_true(s->work[i].ran);
}

static void limited_and_failing(scene *s) {
    s->group.limit = 2;
    go(s, 0, 2, 500);
    go(s, 1, -1, 0);
    for (int i = 2; i < MAX; i++)
        go(s, i, 0, 0); /* the first of these waits for room, and finds the group failed */
}

static void after_a_failure_nothing_is_started(void **state) {
    scene *s = begin(*state, limited_and_failing);
    run_to_the_end(*state);
    assert_int_equal(s->failure, 500);
    assert_ptr_equal(s->failed, &s->work[0].branch);
    for (int i = 2; i < MAX; i++)
        assert_false(s->work[i].ran);
}

static void two_sleepers(scene *s) {
    go(s, 0, -1, 0);
    go(s, 1, -1, 0);
}

static void cancelling_the_owner_cancels_the_branches(void **state) {
    scene *s = begin(*state, two_sleepers);
    hob__loop_turn(*state, 0);
    assert_int_equal(running, 2);
    hob__task_cancel(&s->owner);
    run_to_the_end(*state);
    assert_true(s->ended);
    assert_int_equal(s->failure, 499);
    assert_int_equal(s->work[0].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(s->work[1].wake, HOB_WAKE_CANCELLED);
}

static void the_owners_deadline_is_the_branches(void **state) {
    scene *s = begin(*state, two_sleepers);
    s->owner.deadline = hob__clock_ns() + 3 * HOB_MS;
    run_to_the_end(*state);
    assert_true(s->ended);
    assert_true(s->failure == 504 || s->failure == 499); /* whichever timer was first */
}

static void start_when_cancelled(scene *s) {
    hob__task_cancel(&s->owner);
    go(s, 0, 0, 0);
}

static void a_cancelled_owner_starts_nothing(void **state) {
    scene *s = begin(*state, start_when_cancelled);
    run_to_the_end(*state);
    assert_false(s->work[0].ran);
    assert_int_equal(s->failure, NOT_RUN);
    assert_ptr_equal(s->failed, &s->work[0].branch);
}

static void full_until_the_deadline(scene *s) {
    s->group.limit = 1;
    go(s, 0, -1, 0);
    s->work[0].branch.task.deadline = HOB_FOREVER; /* only a cancel ends it */
    go(s, 1, 0, 0);
}

static void waiting_for_room_ends_at_the_deadline(void **state) {
    scene *s = begin(*state, full_until_the_deadline);
    s->owner.deadline = hob__clock_ns() + 3 * HOB_MS;
    run_to_the_end(*state);
    assert_false(s->work[1].ran);
    assert_int_equal(s->work[0].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(s->failure, NOT_RUN);
}

static void cancel_it(scene *s) {
    two_sleepers(s);
    (void)hob__task_yield(&s->owner);
    hob__group_cancel(&s->group);
    hob__group_cancel(&s->group);
}

static void a_group_can_be_cancelled(void **state) {
    scene *s = begin(*state, cancel_it);
    run_to_the_end(*state);
    assert_true(s->ended);
    assert_int_equal(s->failure, 499);
    assert_false(s->owner.cancelled);
}

/* Nested: an owner, a branch that owns a group, its branches. */
static int nest(hob_branch *branch) {
    scene *inner = (scene *)branch->task.arena; /* the test's own use of a pointer that is handed down */
    hob__group_init(&inner->group, &branch->task);
    inner->owner = (hob_task){.loop = branch->task.loop};
    two_sleepers(inner);
    inner->failure = hob__group_wait(&inner->group, NULL);
    assert_null(branch->task.on_cancel);
    return inner->failure;
}

static scene inner_scene;

static void nested(scene *s) {
    s->owner.arena = (hob_arena *)&inner_scene;
    hob__group_go(&s->group, &s->work[0].branch, nest, NOT_RUN);
}

static void cancel_passes_down_nested_groups(void **state) {
    memset(&inner_scene, 0, sizeof(inner_scene));
    scene *s = begin(*state, nested);
    hob__loop_turn(*state, 0);
    assert_int_equal(running, 2);
    hob__task_cancel(&s->owner);
    run_to_the_end(*state);
    assert_int_equal(inner_scene.failure, 499);
    assert_int_equal(inner_scene.work[0].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(inner_scene.work[1].wake, HOB_WAKE_CANCELLED);
    assert_int_equal(s->failure, 499);
}

/* Several groups of one owner, waited for in every order; a cancel reaches those that are left and the hook that was
 * there before. */
static int owners_own_calls;

static void owners_own(hob_task *task, void *arg) {
    (void)task;
    assert_ptr_equal(arg, &owners_own_calls);
    owners_own_calls++;
}

static const int (*order)[3];
static work chain_work[3];

static void chain(hob_task *task) {
    hob_task_group groups[3];
    task->on_cancel = owners_own;
    task->on_cancel_arg = &owners_own_calls;
    for (int i = 0; i < 3; i++) {
        hob__group_init(&groups[i], task);
        chain_work[i] = (work){.turns = -1};
        hob__group_go(&groups[i], &chain_work[i].branch, run_work, NOT_RUN);
    }
    (void)hob__task_yield(task);
    hob__task_wake(&chain_work[(*order)[0]].branch.task);
    assert_int_equal(hob__group_wait(&groups[(*order)[0]], NULL), 0);
    hob__task_cancel(task);
    assert_int_equal(owners_own_calls, 1);
    assert_int_equal(hob__group_wait(&groups[(*order)[1]], NULL), 499);
    assert_int_equal(hob__group_wait(&groups[(*order)[2]], NULL), 499);
    assert_int_equal(hob__group_wait(&groups[(*order)[2]], NULL), 499); /* again: the same answer */
    assert_ptr_equal(task->on_cancel, owners_own);
    assert_ptr_equal(task->on_cancel_arg, &owners_own_calls);
}

static void groups_of_one_owner_end_in_any_order(void **state) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < 6; i++) {
        hob_task owner;
        owners_own_calls = 0;
        order = &orders[i];
        start(*state, &owner, chain);
        run_to_the_end(*state);
        assert_int_equal(owners_own_calls, 1);
    }
}

static int end_at_once(hob_branch *branch) {
    (void)branch;
    return 0;
}

/* The branches' memory goes right after the wait: none of their fibers may still need it. */
static void free_after_wait(scene *s) {
    for (int round = 0; round < 50; round++) {
        hob_branch *branches = malloc(4 * sizeof(*branches));
        assert_non_null(branches);
        for (int i = 0; i < 4; i++)
            hob__group_go(&s->group, &branches[i], end_at_once, NOT_RUN);
        assert_int_equal(hob__group_wait(&s->group, NULL), 0);
        free(branches);
        hob__group_init(&s->group, &s->owner);
    }
}

static void memory_of_branches_ends_with_the_wait(void **state) {
    scene *s = begin(*state, free_after_wait);
    run_to_the_end(*state);
    assert_true(s->ended);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(an_empty_group_is_done),
        LOOP_TEST(all_branches_are_waited_for),
        LOOP_TEST(the_first_failure_cancels_the_rest),
        LOOP_TEST(a_limit_bounds_what_runs_at_once),
        LOOP_TEST(after_a_failure_nothing_is_started),
        LOOP_TEST(cancelling_the_owner_cancels_the_branches),
        LOOP_TEST(the_owners_deadline_is_the_branches),
        LOOP_TEST(a_cancelled_owner_starts_nothing),
        LOOP_TEST(waiting_for_room_ends_at_the_deadline),
        LOOP_TEST(a_group_can_be_cancelled),
        LOOP_TEST(cancel_passes_down_nested_groups),
        LOOP_TEST(groups_of_one_owner_end_in_any_order),
        LOOP_TEST(memory_of_branches_ends_with_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
