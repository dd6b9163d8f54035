/*
 * The event loop: epoll, timers, and turns.
 *
 * One turn: wait for events, call the watches they are for, expire timers, run the tasks that are ready (run/task.h),
 * then the turn hooks, in the order they were added: data/ sends there, as one batch, what the tasks asked for in this
 * turn. A hook may make tasks ready; they run in the next turn, which then does not wait.
 */
#ifndef HOB_RUN_LOOP_H
#define HOB_RUN_LOOP_H

#include <sys/epoll.h>

#include "base/clock.h"
#include "hob.h"

typedef struct hob_loop hob_loop;

hob_loop *hob__loop_new(void) HOB_MUST_CHECK; /* NULL: errno says why */
void hob__loop_free(hob_loop *loop);
void hob__loop_run(hob_loop *loop);                           /* turns until hob__loop_stop */
void hob__loop_turn(hob_loop *loop, int64_t longest_wait_ns); /* one turn; for tests */
void hob__loop_stop(hob_loop *loop);
int64_t hob__loop_now(const hob_loop *loop); /* monotonic, as of this turn's start; refreshed after every wait */
uint64_t hob__loop_turns(const hob_loop *loop);
int64_t hob__loop_last_turn(const hob_loop *loop); /* how long the one before this worked, in ns */
/* For other threads: changes with each task that is run; odd while the loop waits for events. */
uint64_t hob__loop_pulse(const hob_loop *loop);
/* SIGTERM and the like: signal handlers call this (async-signal-safe); on_signal runs in the next turn. */
void hob__loop_on_signal(hob_loop *loop, void (*on_signal)(void *arg), void *arg);
void hob__loop_wake_from_signal(hob_loop *loop);

/* Callbacks get the part that the loop knows (a watch, a timer, a task): this is what it is the `member` of. */
#define hob__container_of(part, type, member) ((type *)((char *)(part)-offsetof(type, member)))

/* A file descriptor with its events; owned and kept in place by its user while watched. A callback must bear a call for
 * nothing (an event gathered before it was unwatched and watched anew). It may not free a watch. */
typedef struct hob_watch {
    int fd;
    void (*on_event)(struct hob_watch *watch, uint32_t events);
} hob_watch;
bool hob__loop_watch(hob_loop *loop, hob_watch *watch, uint32_t events) HOB_MUST_CHECK;   /* EPOLL_CTL_ADD; errno */
bool hob__loop_rewatch(hob_loop *loop, hob_watch *watch, uint32_t events) HOB_MUST_CHECK; /* EPOLL_CTL_MOD; errno */
void hob__loop_unwatch(hob_loop *loop, hob_watch *watch);                                 /* before closing fd */

/* A timer, embedded in its user. Setting it again moves it; zeroed memory is an unset timer. It is unset when on_expire
 * is called. */
typedef struct hob_timer {
    void (*on_expire)(struct hob_timer *timer);
    int64_t at; /* monotonic ns */
    /* private to timer.c: a pairing heap */
    struct hob_timer *child, *next;
    struct hob_timer **link; /* the pointer that points here; NULL while unset */
} hob_timer;
/* A time that has passed, set from a timer's on_expire, fires in the next turn. */
void hob__timer_set(hob_loop *loop, hob_timer *timer, int64_t at);
void hob__timer_clear(hob_loop *loop, hob_timer *timer);

typedef struct hob_turn_hook {
    void (*on_turn)(struct hob_turn_hook *hook);
    struct hob_turn_hook *next;
} hob_turn_hook;
void hob__loop_hook(hob_loop *loop, hob_turn_hook *hook);
void hob__loop_unhook(hob_loop *loop, hob_turn_hook *hook); /* not from a hook */

#endif
