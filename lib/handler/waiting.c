/* Groups, semaphores, sleep and offload as a handler sees them. */
#include <stdlib.h>

#include "base/log.h"
#include "handler/services.h"
#include "run/group.h"
#include "run/semaphore.h"

struct hob_group {
    hob_task_group tasks;
    hob_ctx *owner;
};

typedef struct group_branch {
    hob_branch branch; /* first: a branch is its group_branch */
    hob_ctx ctx;
    hob_response response;
    hob_task_fn *fn;
    void *arg;
} group_branch;

static void end_group(void *arg) {
    hob_group *group = arg;
    hob__group_cancel(&group->tasks);
    (void)hob__group_wait(&group->tasks, NULL);
}

hob_group *hob_group_new(hob_ctx *c) {
    hob_group *group = hob__arena_calloc(c->arena, 1, sizeof *group);
    if (!group)
        return NULL;
    group->owner = c;
    hob__group_init(&group->tasks, c->task);
    return hob__arena_defer(c->arena, end_group, group) ? group : NULL;
}

void hob_group_limit(hob_group *group, size_t n) {
    if (group)
        group->tasks.limit = n;
}

static int run_branch(hob_branch *branch) {
    group_branch *self = (group_branch *)branch;
    int status = self->fn(&self->ctx, self->arg);
    return status >= 400 ? status : 0;
}

void hob_group_go(hob_group *group, hob_task_fn *fn, void *arg) {
    if (!group)
        return; /* memory ran out; the arena knows, and so will the answer */
    group_branch *branch = hob__arena_calloc(group->owner->arena, 1, sizeof *branch);
    if (!branch)
        return;
    branch->ctx = *group->owner;
    branch->ctx.task = &branch->branch.task;
    branch->ctx.response = &branch->response;
    branch->ctx.parent = group->owner;
    branch->ctx.transaction = NULL; /* its connection belongs to the one who began it */
    branch->fn = fn;
    branch->arg = arg;
    hob__group_go(&group->tasks, &branch->branch, run_branch, 503);
}

static void adopt_answer(hob_ctx *c, const hob_response *answer) {
    for (size_t i = 0; i < answer->header_count; i++)
        (void)hob__response_set(c->response, c->arena, answer->headers[i].name, answer->headers[i].value);
    c->response->status = answer->status;
    c->response->body = answer->body;
    c->response->content_type = answer->content_type;
    c->response->problem_detail = answer->problem_detail;
}

int hob_group_wait(hob_group *group) {
    if (!group)
        return 503;
    hob_branch *failed = NULL;
    int failure = hob__group_wait(&group->tasks, &failed);
    if (failure && failed && ((group_branch *)failed)->response.status)
        adopt_answer(group->owner, &((group_branch *)failed)->response);
    else if (failure && group->owner->task->deadline <= hob__clock_ns())
        return hob_problem(group->owner, 504, "the deadline passed");
    else if (failure)
        return hob_unavailable(group->owner, 1, "a part of the work could not be done");
    else if (hob__arena_failed(group->owner->arena))
        return hob_unavailable(group->owner, 1, "out of memory");
    return failure;
}

static int waited(hob_ctx *c, hob_wake wake, int on_timeout) {
    if (wake == HOB_WAKE_READY)
        return 0;
    if (wake == HOB_WAKE_CANCELLED)
        return hob_problem(c, 499, "the client has gone");
    if (on_timeout == 503)
        return hob_unavailable(c, 1, "too much of this is going on");
    return hob_problem(c, 504, "the deadline passed");
}

hob_semaphore *hob_semaphore_new(int64_t weight) {
    hob_semaphore *semaphore = malloc(sizeof *semaphore);
    if (semaphore)
        hob__semaphore_init(semaphore, weight);
    else
        hob__log(HOB_LOG_ERROR, "no memory for a semaphore");
    return semaphore;
}

int hob_acquire(hob_ctx *c, hob_semaphore *semaphore, int64_t weight) {
    if (!semaphore)
        return hob_unavailable(c, 1, "out of memory");
    return waited(c, hob__semaphore_acquire(semaphore, c->task, weight, HOB_FOREVER), 503);
}

bool hob_try_acquire(hob_semaphore *semaphore, int64_t weight) {
    return semaphore && hob__semaphore_try(semaphore, weight);
}

void hob_release(hob_semaphore *semaphore, int64_t weight) {
    if (semaphore)
        hob__semaphore_release(semaphore, weight);
}

int hob_sleep(hob_ctx *c, int64_t ms) {
    int64_t until = hob__clock_ns() + ms * HOB_MS;
    hob_wake wake;
    do
        wake = hob__task_park(c->task, until);
    while (wake == HOB_WAKE_READY);
    bool slept = wake == HOB_WAKE_TIMEOUT && c->task->deadline >= until;
    return slept ? 0 : waited(c, wake, 504);
}

int hob_offload(hob_ctx *c, void (*fn)(void *arg), void *arg) {
    if (hob__offload(c->services->offload, c->task, fn, arg))
        return 0;
    return hob_unavailable(c, 1, "too much work is waiting for a thread");
}
