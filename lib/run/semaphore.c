#include "run/semaphore.h"

#include "base/log.h"

/* On the stack of the task that waits. State and container: waiting (the semaphore's list) -> granted or given up
 * (none). */
typedef struct hob_semaphore_waiter {
    struct hob_semaphore_waiter *next;
    hob_task *task;
    int64_t weight;
    bool granted;
} waiter;

void hob__semaphore_init(hob_semaphore *s, int64_t weight) {
    *s = (hob_semaphore){.weight = weight, .last = &s->first};
}

static bool take(hob_semaphore *s, int64_t weight) {
    if (weight > s->weight - s->taken)
        return false;
    s->taken += weight;
    return true;
}

bool hob__semaphore_try(hob_semaphore *s, int64_t weight) {
    return weight >= 0 && !s->first && take(s, weight);
}

static void grant(hob_semaphore *s) {
    for (waiter *w; (w = s->first) && take(s, w->weight);) {
        s->first = w->next;
        if (!s->first)
            s->last = &s->first;
        w->granted = true;
        hob__task_wake(w->task);
    }
}

static void give_up(hob_semaphore *s, waiter *w) {
    waiter **link = &s->first;
    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
    if (s->last == &w->next)
        s->last = link;
    grant(s); /* the lighter ones behind it may fit */
}

hob_wake hob__semaphore_acquire(hob_semaphore *s, hob_task *task, int64_t weight, int64_t until) {
    if (weight < 0 || weight > s->weight)
        return HOB_WAKE_TIMEOUT;
    if (hob__semaphore_try(s, weight))
        return HOB_WAKE_READY;
    waiter w = {.task = task, .weight = weight};
    *s->last = &w;
    s->last = &w.next;
    hob_wake wake = HOB_WAKE_READY;
    while (!w.granted && wake == HOB_WAKE_READY)
        wake = hob__task_park(task, until);
    if (w.granted)
        return HOB_WAKE_READY;
    give_up(s, &w);
    return wake;
}

void hob__semaphore_release(hob_semaphore *s, int64_t weight) {
    if (weight < 0 || weight > s->taken) {
        hob__log(HOB_LOG_ERROR, "semaphore: %" PRId64 " released of %" PRId64 " taken", weight, s->taken);
        weight = weight < 0 ? 0 : s->taken;
    }
    s->taken -= weight;
    grant(s);
}
