/* The loop's inside, for loop.c, timer.c and task.c. */
#ifndef HOB_RUN_LOOP_PRIVATE_H
#define HOB_RUN_LOOP_PRIVATE_H

#include <stdatomic.h>

#include "run/loop.h"
#include "run/task.h"

#define HOB_LOOP_EVENTS 256 /* taken from the kernel at once */

typedef struct hob_task_queue {
    hob_task *first, **last;
} hob_task_queue;

struct hob_loop {
    int epoll_fd;
    bool stopping;
    bool waits_in_ms; /* the kernel has no epoll_pwait2 */
    int64_t now;
    uint64_t turns;
    _Atomic uint64_t pulse;
    int64_t last_turn;

    hob_task_queue ready;   /* run in this turn */
    hob_task_queue yielded; /* run in the next one */

    hob_timer *timers; /* root of the heap */
    hob_timer *due;    /* expired in this turn, not yet called */

    hob_turn_hook *hooks, **last_hook;

    hob_watch signal_watch; /* an eventfd */
    void (*on_signal)(void *arg);
    void *on_signal_arg;

    int event_at, event_count; /* events not yet called are those from event_at on */
    struct epoll_event events[HOB_LOOP_EVENTS];
};

static inline void hob__loop_beat(hob_loop *loop, unsigned by) {
    uint64_t pulse = atomic_load_explicit(&loop->pulse, memory_order_relaxed); /* only its own thread writes it */
    atomic_store_explicit(&loop->pulse, pulse + by, memory_order_relaxed);
}

/* task.c */
void hob__task_queue_init(hob_task_queue *queue);
void hob__task_run_ready(hob_loop *loop);

/* timer.c */
void hob__timer_expire(hob_loop *loop);

#endif
