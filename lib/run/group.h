/* errgroup over tasks: the first failure cancels the rest; a limit bounds how many run at once. */
#ifndef HOB_RUN_GROUP_H
#define HOB_RUN_GROUP_H

#include "run/task.h"

typedef struct hob_task_group hob_task_group;

typedef struct hob_branch {
    hob_task task;                        /* loop, arena, deadline filled in by hob__group_go from the owner's */
    int (*fn)(struct hob_branch *branch); /* 0, or what the failure is */
    /* private to group.c */
    hob_task_group *group;
    struct hob_branch *next, **link; /* among the group's running branches */
} hob_branch;

struct hob_task_group {
    hob_task *owner;
    size_t limit; /* 0: none */
    /* private to group.c */
    size_t running;
    hob_branch *branches; /* the running ones */
    int failure;
    hob_branch *first_failed;
    bool cancelled; /* no branch is started any more */
    bool waiting;   /* the owner sleeps until a branch ends */
    bool hooked;
    void (*owner_on_cancel)(hob_task *task, void *arg); /* what the owner had before: groups of one owner chain */
    void *owner_on_cancel_arg;
};

/* The group belongs to the running task `owner` and must be waited for before its memory goes. */
void hob__group_init(hob_task_group *group, hob_task *owner);
/* Starts a branch (its memory is the caller's until hob__group_wait returned), first waiting for room under the limit.
 * When the group has failed, or the owner was cancelled or timed out, it is not run. A branch that was not run, be it
 * for want of a fiber, makes `not_run` the group's failure unless there is one already. */
void hob__group_go(hob_task_group *group, hob_branch *branch, int (*fn)(hob_branch *branch), int not_run);
/* Waits for all branches, cancelling them when the owner is cancelled or times out. 0 or the first failure; *failed
 * (may be NULL) is the branch it came from. */
int hob__group_wait(hob_task_group *group, hob_branch **failed);
void hob__group_cancel(hob_task_group *group); /* cancels the branches; hob__group_wait still has to follow */

#endif
