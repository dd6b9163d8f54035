/*
 * Timers: a pairing heap threaded through the timers themselves, so that setting one cannot fail. Most timers are
 * deadlines that are cleared before they expire; these never get children, and setting and clearing them takes constant
 * time.
 *
 * State and container: unset (none) -> set (the heap) -> due (loop->due, while the turn's expired timers are called) ->
 * unset.
 */
#include "run/loop_private.h"

static void put(hob_timer **place, hob_timer *timer) {
    *place = timer;
    if (timer)
        timer->link = place;
}

/* Of two heaps, neither of which is in a list, one. */
static hob_timer *meld(hob_timer *a, hob_timer *b) {
    if (b->at < a->at) {
        hob_timer *first = b;
        b = a;
        a = first;
    }
    put(&b->next, a->child);
    put(&a->child, b);
    return a;
}

/* Of a list of heaps, one: neighbours first, then from the back, which keeps the whole logarithmic. */
static hob_timer *meld_list(hob_timer *list) {
    hob_timer *pairs = NULL;
    while (list) {
        hob_timer *heap = list, *second = heap->next;
        list = second ? second->next : NULL;
        if (second)
            heap = meld(heap, second);
        heap->next = pairs;
        pairs = heap;
    }
    hob_timer *root = NULL;
    while (pairs) {
        hob_timer *heap = pairs;
        pairs = heap->next;
        heap->next = NULL;
        root = root ? meld(root, heap) : heap;
    }
    return root;
}

static void insert(hob_loop *loop, hob_timer *heap) {
    put(&loop->timers, loop->timers ? meld(loop->timers, heap) : heap);
}

void hob__timer_clear(hob_loop *loop, hob_timer *timer) {
    if (!timer->link)
        return;
    put(timer->link, timer->next);
    hob_timer *children = meld_list(timer->child);
    timer->child = timer->next = NULL;
    timer->link = NULL;
    if (children)
        insert(loop, children);
}

void hob__timer_set(hob_loop *loop, hob_timer *timer, int64_t at) {
    hob__timer_clear(loop, timer);
    timer->at = at;
    insert(loop, timer);
}

/* All that are due are taken out first: what their callbacks set waits for the next turn, so no turn is endless. */
void hob__timer_expire(hob_loop *loop) {
    hob_timer **last = &loop->due;
    for (hob_timer *timer; (timer = loop->timers) && timer->at <= loop->now; last = &timer->next) {
        hob__timer_clear(loop, timer);
        put(last, timer);
    }
    for (hob_timer *timer; (timer = loop->due);) {
        hob__timer_clear(loop, timer);
        timer->on_expire(timer);
    }
}
