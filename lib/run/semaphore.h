/* A weighted semaphore for tasks of one loop: FIFO, so a heavy waiter is never passed by a light one for ever. */
#ifndef HOB_RUN_SEMAPHORE_H
#define HOB_RUN_SEMAPHORE_H

#include "run/task.h"

struct hob_semaphore {
    int64_t weight, taken;
    struct hob_semaphore_waiter *first, **last;
};

void hob__semaphore_init(hob_semaphore *s, int64_t weight);
/* READY: taken. A weight larger than the semaphore's is TIMEOUT at once: it can never be had. */
hob_wake hob__semaphore_acquire(hob_semaphore *s, hob_task *task, int64_t weight, int64_t until) HOB_MUST_CHECK;
bool hob__semaphore_try(hob_semaphore *s, int64_t weight) HOB_MUST_CHECK;
void hob__semaphore_release(hob_semaphore *s, int64_t weight);

#endif
