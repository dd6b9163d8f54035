#include "run/group.h"

static void on_owner_cancelled(hob_task *owner, void *arg) {
    hob_task_group *group = arg;
    hob__group_cancel(group);
    if (group->owner_on_cancel)
        group->owner_on_cancel(owner, group->owner_on_cancel_arg);
}

void hob__group_init(hob_task_group *group, hob_task *owner) {
    *group = (hob_task_group){.owner = owner,
                              .cancelled = owner->cancelled,
                              .hooked = true,
                              .owner_on_cancel = owner->on_cancel,
                              .owner_on_cancel_arg = owner->on_cancel_arg};
    owner->on_cancel = on_owner_cancelled;
    owner->on_cancel_arg = group;
}

/* Groups of one owner may be waited for in any order: this one may stand in the middle of the chain. */
static void unhook(hob_task_group *group) {
    void (**hook)(hob_task *, void *) = &group->owner->on_cancel;
    void **arg = &group->owner->on_cancel_arg;
    while (*hook == on_owner_cancelled && *arg != group) {
        hob_task_group *later = *arg;
        hook = &later->owner_on_cancel;
        arg = &later->owner_on_cancel_arg;
    }
    if (*hook == on_owner_cancelled) {
        *hook = group->owner_on_cancel;
        *arg = group->owner_on_cancel_arg;
    }
    group->hooked = false;
}

void hob__group_cancel(hob_task_group *group) {
    group->cancelled = true;
    for (hob_branch *branch = group->branches; branch; branch = branch->next)
        hob__task_cancel(&branch->task);
}

static void fail(hob_task_group *group, int failure, hob_branch *branch) {
    if (failure != 0 && group->failure == 0) {
        group->failure = failure;
        group->first_failed = branch;
        hob__group_cancel(group);
    }
}

static void link_branch(hob_task_group *group, hob_branch *branch) {
    branch->next = group->branches;
    if (branch->next)
        branch->next->link = &branch->next;
    branch->link = &group->branches;
    group->branches = branch;
    group->running++;
}

static void unlink_branch(hob_task_group *group, hob_branch *branch) {
    *branch->link = branch->next;
    if (branch->next)
        branch->next->link = branch->link;
    group->running--;
}

static void run_branch(hob_task *task) {
    hob_branch *branch = (hob_branch *)task;
    hob_task_group *group = branch->group;
    int failure = branch->fn(branch);
    unlink_branch(group, branch);
    fail(group, failure, branch);
    if (group->waiting)
        hob__task_wake(group->owner);
}

/* Sleeps until at most `most` branches run. Ends early when the group is cancelled, as
 * it is when its owner was cancelled or has timed out. */
static void wait_until(hob_task_group *group, size_t most) {
    group->waiting = true;
    while (group->running > most && !group->cancelled)
        if (hob__task_park(group->owner, HOB_FOREVER) != HOB_WAKE_READY)
            hob__group_cancel(group);
    group->waiting = false;
}

void hob__group_go(hob_task_group *group, hob_branch *branch, int (*fn)(hob_branch *branch), int not_run) {
    if (group->limit > 0)
        wait_until(group, group->limit - 1);
    hob_task *owner = group->owner;
    *branch = (hob_branch){
        .task = {.loop = owner->loop, .arena = owner->arena, .deadline = owner->deadline}, .fn = fn, .group = group};
    if (group->cancelled || !hob__task_start(&branch->task, run_branch)) {
        fail(group, not_run, branch);
        return;
    }
    link_branch(group, branch);
}

int hob__group_wait(hob_task_group *group, hob_branch **failed) {
    wait_until(group, 0);
    group->waiting = true;
    while (group->running > 0)
        hob__task_park_surely(group->owner);
    group->waiting = false;
    if (group->hooked)
        unhook(group);
    if (failed)
        *failed = group->first_failed;
    return group->failure;
}
