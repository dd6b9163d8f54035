/*
 * Random trees of groups: limits, failures, deadlines, cancellations, branches that start groups of their own. The
 * seed is printed; HOB_TEST_SEED repeats a run, HOB_TEST_TREES says how many trees.
 *
 * Holds of every group: its wait returns only when all its branches have ended; never do more run than its limit says;
 * the first failure in time is its answer. Of every tree: at its end no fiber is left, and what was deferred in its
 * arena has run, once.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/random.h"
#include "run/group.h"

#define NOT_RUN 503
#define NODES 64 /* a tree's size is bounded */
#define GROUPS 64

static uint64_t random_state;

static unsigned draw(unsigned below) {
    /* xorshift64 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 33) % below);
}

typedef struct observed_group {
    hob_task_group group; /* first */
    size_t running, limit;
    int first_failure; /* in time */
    bool ended;
} observed_group;

typedef struct node {
    hob_branch branch; /* first */
    observed_group *group;
    unsigned depth;
} node;

/* One tree. A fault is noted and told after the tree's end, since tasks cannot assert. */
static struct {
    hob_arena *arena;
    hob_task root;
    node nodes[NODES];
    observed_group groups[GROUPS];
    size_t node_count, group_count;
    int deferred, deferred_run;
    const char *fault;
    int answer;
    bool root_ended;
} tree;

static struct { long failures, not_run, timeouts, cancels; } seen;

static void check(bool good, const char *what) {
    if (!good && !tree.fault)
        tree.fault = what;
}

static void on_deferred(void *arg) {
    (void)arg;
    tree.deferred_run++;
}

static int status_of(hob_wake wake) {
    seen.timeouts += wake == HOB_WAKE_TIMEOUT;
    seen.cancels += wake == HOB_WAKE_CANCELLED;
    return wake == HOB_WAKE_TIMEOUT ? 504 : wake == HOB_WAKE_CANCELLED ? 499 : 0;
}

/* Waits one way or another: 0, 499 or 504. */
static int rest(hob_task *task) {
    int64_t until = hob__clock_ns() + draw(400) * 1000;
    hob_wake wake;
    switch (draw(4)) {
    case 0:
        return status_of(hob__task_yield(task));
    case 1: /* until its own time has come; a deadline or a cancel may be earlier */
        do
            wake = hob__task_park(task, until);
        while (wake == HOB_WAKE_READY);
        return wake == HOB_WAKE_TIMEOUT && task->deadline > until ? 0 : status_of(wake);
    default:
        return 0;
    }
}

static int run_group(hob_task *owner, unsigned depth);

static int work(hob_task *task, unsigned depth) {
    int status = rest(task);
    if (draw(3) == 0 && hob__arena_defer(tree.arena, on_deferred, NULL))
        tree.deferred++;
    if (!status && depth < 4 && draw(3) == 0)
        status = run_group(task, depth + 1);
    if (!status)
        status = rest(task);
    return !status && draw(8) == 0 ? 500 + (int)draw(90) : status;
}

static int run_node(hob_branch *branch) {
    node *self = (node *)branch;
    observed_group *group = self->group;
    check(!group->ended, "a branch begins after its group's end");
    check(++group->running <= group->limit || group->limit == 0, "more branches than the limit");
    int status = work(&branch->task, self->depth);
    check(!group->ended, "a branch ends after its group's end");
    group->running--;
    if (status && !group->first_failure)
        group->first_failure = status;
    seen.failures += status != 0;
    return status;
}

static void go(observed_group *group, unsigned depth) {
    if (tree.node_count == NODES)
        return;
    node *self = &tree.nodes[tree.node_count++];
    self->group = group;
    self->depth = depth;
    hob__group_go(&group->group, &self->branch, run_node, NOT_RUN);
    if (group->group.cancelled && group->group.first_failed == &self->branch) {
        seen.not_run++;
        group->first_failure = NOT_RUN;
    }
    if (draw(12) == 0)
        self->branch.task.deadline = hob__clock_ns() + draw(300) * 1000;
}

static int run_group(hob_task *owner, unsigned depth) {
    if (tree.group_count == GROUPS)
        return 0;
    observed_group *group = &tree.groups[tree.group_count++];
    hob__group_init(&group->group, owner);
    group->limit = group->group.limit = draw(3) == 0 ? 1 + draw(3) : 0;
    for (unsigned left = draw(7); left > 0; left--) {
        go(group, depth);
        if (draw(10) == 0)
            (void)rest(owner);
    }
    if (draw(15) == 0)
        hob__group_cancel(&group->group);
    hob_branch *failed = NULL;
    int answer = hob__group_wait(&group->group, &failed);
    group->ended = true;
    check(group->running == 0, "the wait is over and a branch runs on");
    check(answer == group->first_failure, "the answer is not the first failure");
    check((answer != 0) == (failed != NULL), "an answer without its branch");
    return answer;
}

static void run_root(hob_task *root) {
    tree.answer = run_group(root, 1);
    hob__arena_reset(tree.arena);
    tree.root_ended = true;
}

static void grow_tree(hob_loop *loop, hob_arena *arena) {
    memset(&tree, 0, sizeof tree);
    tree.arena = arena;
    tree.root = (hob_task){.loop = loop, .arena = arena, .deadline = HOB_FOREVER};
    if (draw(4) == 0)
        tree.root.deadline = hob__clock_ns() + draw(500) * 1000;
    unsigned cancel_at = draw(4) == 0 ? draw(8) : UINT32_MAX; /* the turn in which the client goes */
    assert_true(hob__task_start(&tree.root, run_root));
    int64_t end = hob__clock_ns() + 20 * HOB_S;
    for (unsigned turn = 0; hob__fiber_count().live > 0; turn++) {
        if (turn == cancel_at && !tree.root_ended)
            hob__task_cancel(&tree.root);
        hob__loop_turn(loop, 10 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
    check(tree.root_ended, "fibers are gone, and the root has not ended");
    check(tree.deferred == tree.deferred_run, "what was deferred did not run, or ran twice");
}

static void random_trees_keep_the_rules(void **state) {
    const char *seed_text = getenv("HOB_TEST_SEED"), *count_text = getenv("HOB_TEST_TREES");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : hob__random();
    long count = count_text ? strtol(count_text, NULL, 10) : 5000;
    hob_arena *arena = hob__arena_new(1 << 20);
    assert_non_null(arena);
    print_message("HOB_TEST_SEED=%llu\n", (unsigned long long)seed);
    memset(&seen, 0, sizeof seen);
    for (long i = 0; i < count; i++) {
        random_state = (seed + (uint64_t)i) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        grow_tree(*state, arena);
        if (tree.fault)
            fail_msg("tree %ld of seed %llu: %s", i, (unsigned long long)seed, tree.fault);
    }
    hob__arena_free(arena);
    /* The trees did meet what they are for. */
    if (count >= 1000) {
        assert_true(seen.failures > count / 10);
        assert_true(seen.not_run > 0);
        assert_true(seen.timeouts > 0);
        assert_true(seen.cancels > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {LOOP_TEST(random_trees_keep_the_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
