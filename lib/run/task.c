#include "run/task.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "run/loop_private.h"

/* How often in one turn the tasks that tasks made ready are run: enough for one batch to gather everything, and two
 * tasks that wake each other for ever still leave room for the rest of the loop. */
#define ROUNDS 16
#define RETRY (10 * HOB_MS) /* how often an fd that epoll has no room for is tried */

static _Thread_local hob_task *current;

void hob__task_queue_init(hob_task_queue *queue) {
    queue->first = NULL;
    queue->last = &queue->first;
}

static void push(hob_task_queue *queue, hob_task *task) {
    task->next_ready = NULL;
    *queue->last = task;
    queue->last = &task->next_ready;
}

static hob_task *take_all(hob_task_queue *queue) {
    hob_task *first = queue->first;
    hob__task_queue_init(queue);
    return first;
}

static void run_list(hob_task *list) {
    while (list) {
        hob_task *task = list;
        list = task->next_ready;
        task->state = HOB_TASK_RUNNING;
        current = task;
        hob__loop_beat(task->loop, 2);
        (void)hob__fiber_resume(task->fiber); /* when it has ended, the task's memory may be gone */
        current = NULL;
    }
}

void hob__task_run_ready(hob_loop *loop) {
    if (loop->yielded.first) {
        *loop->ready.last = loop->yielded.first;
        loop->ready.last = loop->yielded.last;
        hob__task_queue_init(&loop->yielded);
    }
    for (int round = 0; round < ROUNDS && loop->ready.first; round++)
        run_list(take_all(&loop->ready));
}

hob_task *hob__task_self(void) {
    return current;
}

static void make_ready(hob_task *task, hob_wake wake) {
    hob__timer_clear(task->loop, &task->timer);
    task->wake = wake;
    task->state = HOB_TASK_READY;
    push(&task->loop->ready, task);
}

static void on_timer(hob_timer *timer) {
    make_ready(hob__container_of(timer, hob_task, timer), HOB_WAKE_TIMEOUT);
}

static void on_fiber(void *arg) {
    hob_task *task = arg;
    task->fn(task);
}

bool hob__task_start(hob_task *task, void (*fn)(hob_task *task)) {
    hob_fiber *fiber = hob__fiber_new(on_fiber, task);
    if (!fiber)
        return false;
    task->fiber = fiber;
    task->fn = fn;
    task->timer = (hob_timer){.on_expire = on_timer};
    task->state = HOB_TASK_RUNNING;
    task->woken = task->cancelled = false;
    push(&task->loop->ready, task);
    return true;
}

/* Whether the task may sleep at all until then; else *wake says why not. */
static bool may_sleep(hob_task *task, int64_t until, hob_wake *wake) {
    if (task->cancelled) {
        *wake = HOB_WAKE_CANCELLED;
    } else if (task->woken) {
        task->woken = false;
        *wake = HOB_WAKE_READY;
    } else if (until <= task->loop->now) {
        *wake = HOB_WAKE_TIMEOUT;
    } else {
        return true;
    }
    return false;
}

hob_wake hob__task_park(hob_task *task, int64_t until) {
    hob_wake wake;
    until = until < task->deadline ? until : task->deadline;
    if (!may_sleep(task, until, &wake))
        return wake;
    if (until != HOB_FOREVER)
        hob__timer_set(task->loop, &task->timer, until);
    task->state = HOB_TASK_PARKED;
    hob__fiber_suspend();
    return task->wake;
}

void hob__task_park_surely(hob_task *task) {
    if (!task->woken) {
        task->state = HOB_TASK_PARKED_SURELY;
        hob__fiber_suspend();
    }
    task->woken = false;
}

void hob__task_wake(hob_task *task) {
    switch (task->state) {
    case HOB_TASK_PARKED:
    case HOB_TASK_PARKED_SURELY:
        make_ready(task, HOB_WAKE_READY);
        break;
    case HOB_TASK_READY: /* it has not seen yet why; what it waits for came after all */
        task->wake = task->wake == HOB_WAKE_TIMEOUT ? HOB_WAKE_READY : task->wake;
        break;
    case HOB_TASK_RUNNING:
        task->woken = true;
        break;
    }
}

void hob__task_cancel(hob_task *task) {
    if (task->cancelled)
        return;
    task->cancelled = true;
    if (task->state == HOB_TASK_PARKED)
        make_ready(task, HOB_WAKE_CANCELLED);
    if (task->on_cancel)
        task->on_cancel(task, task->on_cancel_arg);
}

hob_wake hob__task_yield(hob_task *task) {
    push(&task->loop->yielded, task);
    hob__fiber_suspend();
    return task->cancelled ? HOB_WAKE_CANCELLED : task->deadline <= task->loop->now ? HOB_WAKE_TIMEOUT : HOB_WAKE_READY;
}

typedef struct fd_wait {
    hob_watch watch;
    hob_task *task;
    bool over;
} fd_wait;

static void on_fd(hob_watch *watch, uint32_t events) {
    (void)events;
    fd_wait *wait = (fd_wait *)watch;
    wait->over = true;
    hob__task_wake(wait->task);
}

/* A one-shot entry outlives its wait, disabled, so the next wait on the fd costs one call. It is gone when the fd was
 * closed in between, even if the number is in use again. 0, or what epoll_ctl said. */
static int arm(hob_loop *loop, hob_watch *watch, uint32_t events) {
    events |= EPOLLONESHOT;
    if (hob__loop_rewatch(loop, watch, events) || (errno == ENOENT && hob__loop_watch(loop, watch, events)))
        return 0;
    return errno;
}

hob_wake hob__task_wait_fd(hob_task *task, int fd, uint32_t events, int64_t until) {
    if (task->cancelled)
        return HOB_WAKE_CANCELLED;
    fd_wait wait = {.watch = {.fd = fd, .on_event = on_fd}, .task = task};
    int error = arm(task->loop, &wait.watch, events);
    if (error == ENOMEM || error == ENOSPC) {
        hob__log(HOB_LOG_ERROR, "cannot wait for a file descriptor: %s", strerror(error));
        int64_t retry = task->loop->now + RETRY;
        hob_wake wake = hob__task_park(task, retry < until ? retry : until);
        return wake == HOB_WAKE_TIMEOUT && retry < until ? HOB_WAKE_READY : wake;
    }
    if (error != 0) {
        return HOB_WAKE_READY; /* a regular file (EPERM) is always ready; for any other the caller's own call says what
                                  is wrong */
    }
    hob_wake wake = HOB_WAKE_READY;
    while (!wait.over && wake == HOB_WAKE_READY)
        wake = hob__task_park(task, until);
    if (!wait.over)
        hob__loop_unwatch(task->loop, &wait.watch);
    return wait.over && wake == HOB_WAKE_TIMEOUT ? HOB_WAKE_READY : wake;
}
