/*
 * A task is a fiber that can wait: for a wake, until a deadline, unless it is cancelled. data/ and the middlewares wait
 * through it alone.
 *
 * State and container: ready (in the loop's queue) -> running (hob__task_self) -> parked (only its user and perhaps a
 * timer know it) -> ready ... -> ended (its fiber is back in the pool).
 */
#ifndef HOB_RUN_TASK_H
#define HOB_RUN_TASK_H

#include "base/arena.h"
#include "run/fiber.h"
#include "run/loop.h"

typedef enum hob_wake { HOB_WAKE_READY, HOB_WAKE_TIMEOUT, HOB_WAKE_CANCELLED } hob_wake;

/* How libraries wait inside this task (run/port.h); NULL: they block, as in any other program. */
struct hob_port;

typedef struct hob_task {
    hob_loop *loop;
    hob_arena *arena; /* of its request; may be shared with others; NULL for some service tasks */
    int64_t deadline; /* monotonic ns, HOB_FOREVER: none; parks end there with TIMEOUT */
    struct hob_port *port;
    /* Called by hob__task_cancel after the wake; groups pass it on. */
    void (*on_cancel)(struct hob_task *task, void *arg);
    void *on_cancel_arg;
    /* private to task.c */
    hob_fiber *fiber;
    void (*fn)(struct hob_task *task);
    hob_timer timer;
    struct hob_task *next_ready;
    enum {
        HOB_TASK_RUNNING, /* or yielded, or not begun */
        HOB_TASK_PARKED,
        HOB_TASK_PARKED_SURELY,
        HOB_TASK_READY
    } state;
    hob_wake wake; /* why the last park ended */
    bool woken;    /* a wake came while it ran: the next park takes it */
    bool cancelled;
} hob_task;

/* The caller fills loop, arena and deadline; the task's memory is the caller's and must stay until fn has returned. fn
 * starts in this turn (or the next, when called from a hook). false: no fiber to be had, nothing happened. */
bool hob__task_start(hob_task *task, void (*fn)(hob_task *task)) HOB_MUST_CHECK;
hob_task *hob__task_self(void); /* the running one; NULL outside of tasks and in other threads */

/* Waits for hob__task_wake, until the earlier of the two deadlines. A wake that came before the park counts. A
 * cancelled task does not park: CANCELLED at once; likewise TIMEOUT when its deadline has passed. Spurious READY is
 * possible: check the condition and park again. */
hob_wake hob__task_park(hob_task *task, int64_t until);
void hob__task_park_surely(hob_task *task); /* for READY alone: neither deadline nor cancellation end it */
void hob__task_wake(hob_task *task);        /* from tasks, watches, timers and hooks of the same loop; idempotent */
void hob__task_cancel(hob_task *task);      /* for good; wakes it from hob__task_park */
hob_wake hob__task_yield(hob_task *task);   /* lets the others run first: continues in the next turn */
/* Waits until fd is ready for `events` (EPOLLIN, EPOLLOUT). READY, TIMEOUT or CANCELLED. The fd must not be watched
 * otherwise. */
hob_wake hob__task_wait_fd(hob_task *task, int fd, uint32_t events, int64_t until);

#endif
