#include "run/loop.h"

#include <errno.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "run/loop_private.h"

#define LONG_TURN (100 * HOB_MS)
#define MOST_LOOKS 64

static void on_signal_event(hob_watch *watch, uint32_t events) {
    (void)events;
    hob_loop *loop = hob__container_of(watch, hob_loop, signal_watch);
    uint64_t count;
    if (read(watch->fd, &count, sizeof(count)) == (ssize_t)sizeof(count) && loop->on_signal)
        loop->on_signal(loop->on_signal_arg);
}

hob_loop *hob__loop_new(void) {
    hob_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return NULL;
    hob__task_queue_init(&loop->ready);
    hob__task_queue_init(&loop->yielded);
    loop->last_hook = &loop->hooks;
    loop->now = hob__clock_ns();
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->signal_watch = (hob_watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .on_event = on_signal_event};
    if (loop->epoll_fd < 0 || loop->signal_watch.fd < 0 || !hob__loop_watch(loop, &loop->signal_watch, EPOLLIN)) {
        int error = errno;
        hob__loop_free(loop);
        errno = error;
        return NULL;
    }
    return loop;
}

void hob__loop_free(hob_loop *loop) {
    if (!loop)
        return;
    if (loop->signal_watch.fd >= 0)
        close(loop->signal_watch.fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop);
}

static bool control(hob_loop *loop, int operation, hob_watch *watch, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) == 0;
}

bool hob__loop_watch(hob_loop *loop, hob_watch *watch, uint32_t events) {
    return control(loop, EPOLL_CTL_ADD, watch, events);
}

bool hob__loop_rewatch(hob_loop *loop, hob_watch *watch, uint32_t events) {
    return control(loop, EPOLL_CTL_MOD, watch, events);
}

void hob__loop_unwatch(hob_loop *loop, hob_watch *watch) {
    (void)control(loop, EPOLL_CTL_DEL, watch, 0); /* ENOENT when the fd was closed first: gone is gone */
    for (int i = loop->event_at; i < loop->event_count; i++)
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
}

/* Rounded up: a wait that ends before its timer would spin. */
static int wait_in_ms(hob_loop *loop, int64_t ns) {
    int64_t ms = ns / HOB_MS + (ns % HOB_MS != 0);
    int timeout = ns == HOB_FOREVER ? -1 : ms > INT32_MAX ? INT32_MAX : (int)ms;
    return epoll_wait(loop->epoll_fd, loop->events, HOB_LOOP_EVENTS, timeout);
}

static int wait_in_ns(hob_loop *loop, int64_t ns) {
#ifdef SYS_epoll_pwait2
    if (!loop->waits_in_ms) {
        struct __kernel_timespec timeout = {.tv_sec = ns / HOB_S, .tv_nsec = ns % HOB_S};
        long count = syscall(SYS_epoll_pwait2, loop->epoll_fd, loop->events, HOB_LOOP_EVENTS,
                             ns == HOB_FOREVER ? NULL : &timeout, NULL, 0);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return (int)count;
        loop->waits_in_ms = true; /* an old kernel, or a container that does not let it through */
    }
#endif
    return wait_in_ms(loop, ns);
}

static int64_t wait_length(const hob_loop *loop, int64_t longest, int64_t now) {
    if (loop->ready.first || loop->yielded.first || loop->stopping)
        return 0;
    if (!loop->timers)
        return longest;
    int64_t left = loop->timers->at - now;
    return left < 0 ? 0 : left < longest ? left : longest;
}

static void get_events(hob_loop *loop, int64_t longest) {
    int count = wait_in_ns(loop, longest);
    if (count < 0 && errno != EINTR)
        hob__log(HOB_LOG_ERROR, "epoll_wait: %s", strerror(errno));
    loop->event_count = count < 0 ? 0 : count;
}

static void wait_for_events(hob_loop *loop, int64_t longest) {
    int64_t now = hob__clock_ns();
    loop->last_turn = now - loop->now;
    hob__loop_beat(loop, 1);
    get_events(loop, wait_length(loop, longest, now));
    hob__loop_beat(loop, 1);
    loop->now = hob__clock_ns();
}

static void call_watches(hob_loop *loop) {
    for (loop->event_at = 0; loop->event_at < loop->event_count;) {
        struct epoll_event *event = &loop->events[loop->event_at++];
        hob_watch *watch = event->data.ptr;
        if (watch)
            watch->on_event(watch, event->events);
    }
    loop->event_at = loop->event_count = 0;
}

/* After a long turn more may be ready than is taken from the kernel at once; what is not seen now would grow old
 * unseen, for as long as this turn takes. But what has been seen grows old too, as long as this looks for more. */
static void call_all_watches(hob_loop *loop) {
    bool more = loop->event_count == HOB_LOOP_EVENTS && loop->last_turn > LONG_TURN;
    call_watches(loop);
    for (int i = 0; i < MOST_LOOKS && more && hob__clock_ns() - loop->now < LONG_TURN; i++) {
        get_events(loop, 0);
        more = loop->event_count == HOB_LOOP_EVENTS;
        call_watches(loop);
    }
}

void hob__loop_turn(hob_loop *loop, int64_t longest_wait_ns) {
    wait_for_events(loop, longest_wait_ns);
    loop->turns++;
    call_all_watches(loop);
    hob__timer_expire(loop);
    hob__task_run_ready(loop);
    for (hob_turn_hook *hook = loop->hooks; hook; hook = hook->next)
        hook->on_turn(hook);
}

void hob__loop_run(hob_loop *loop) {
    while (!loop->stopping)
        hob__loop_turn(loop, HOB_FOREVER);
    loop->stopping = false;
}

void hob__loop_stop(hob_loop *loop) {
    loop->stopping = true;
}

int64_t hob__loop_now(const hob_loop *loop) {
    return loop->now;
}

uint64_t hob__loop_turns(const hob_loop *loop) {
    return loop->turns;
}

int64_t hob__loop_last_turn(const hob_loop *loop) {
    return loop->last_turn;
}

uint64_t hob__loop_pulse(const hob_loop *loop) {
    return atomic_load_explicit(&loop->pulse, memory_order_relaxed);
}

void hob__loop_on_signal(hob_loop *loop, void (*on_signal)(void *arg), void *arg) {
    loop->on_signal = on_signal;
    loop->on_signal_arg = arg;
}

void hob__loop_wake_from_signal(hob_loop *loop) {
    int error = errno;
    /* EAGAIN: the counter is full, so the loop will wake anyway. */
    ssize_t written = write(loop->signal_watch.fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
    errno = error;
}

void hob__loop_hook(hob_loop *loop, hob_turn_hook *hook) {
    hook->next = NULL;
    *loop->last_hook = hook;
    loop->last_hook = &hook->next;
}

void hob__loop_unhook(hob_loop *loop, hob_turn_hook *hook) {
    hob_turn_hook **at = &loop->hooks;
    while (*at != hook)
        at = &(*at)->next;
    *at = hook->next;
    if (!*at)
        loop->last_hook = at;
}
