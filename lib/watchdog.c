#include "watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "crash.h"

/* Looks, not time: a process that was stopped, or whose machine slept, missed none of its turns. */
#define LOOKS 8
#define LAST_WAIT (3 * HOB_S) /* for a thread that takes no signal, be it that the kernel holds it */

struct hob_watchdog {
    const hob_loop *loop;
    int64_t interval;
    pthread_t thread;
    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t stop;
    bool stopping;
};

/* false: it is to stop. With the mutex held. */
static bool rest(hob_watchdog *watchdog, int64_t ns) {
    int64_t at = hob__clock_ns() + ns;
    const struct timespec until = {.tv_sec = at / HOB_S, .tv_nsec = at % HOB_S};
    int waited = 0;
    while (!watchdog->stopping && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&watchdog->stop, &watchdog->mutex, &until);
    return !watchdog->stopping;
}

static bool waits_for_events(uint64_t pulse) {
    return pulse % 2 != 0;
}

static void end_process(hob_watchdog *watchdog, uint64_t pulse) {
    hob__crash_hung(pulse);
    if (!rest(watchdog, LAST_WAIT) || hob__loop_pulse(watchdog->loop) != pulse)
        return;
    hob__log(HOB_LOG_ERROR, "the worker hung, and its thread takes no signals");
    _exit(HOB_EXIT_HUNG);
}

static void *watch(void *arg) {
    hob_watchdog *watchdog = arg;
    uint64_t last = 0;
    int looks = 0; /* at one and the same pulse */
    pthread_mutex_lock(&watchdog->mutex);
    while (rest(watchdog, watchdog->interval)) {
        uint64_t pulse = hob__loop_pulse(watchdog->loop);
        looks = pulse == last && !waits_for_events(pulse) ? looks + 1 : 0;
        last = pulse;
        if (looks == LOOKS)
            end_process(watchdog, pulse);
    }
    pthread_mutex_unlock(&watchdog->mutex);
    return NULL;
}

/* Signals are the loop's. */
static int start_thread(hob_watchdog *watchdog) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&watchdog->thread, NULL, watch, watchdog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static void free_watchdog(hob_watchdog *watchdog) {
    pthread_cond_destroy(&watchdog->stop);
    pthread_mutex_destroy(&watchdog->mutex);
    free(watchdog);
}

hob_watchdog *hob__watchdog_start(const hob_loop *loop, int64_t limit_ns) {
    hob_watchdog *watchdog = calloc(1, sizeof(*watchdog));
    pthread_condattr_t monotonic;
    if (watchdog == NULL)
        return NULL;
    watchdog->loop = loop;
    watchdog->interval = limit_ns / LOOKS;
    pthread_mutex_init(&watchdog->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->stop, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int error = start_thread(watchdog);
    if (error == 0)
        return watchdog;
    free_watchdog(watchdog);
    errno = error;
    return NULL;
}

void hob__watchdog_stop(hob_watchdog *watchdog) {
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->stopping = true;
    pthread_cond_signal(&watchdog->stop);
    pthread_mutex_unlock(&watchdog->mutex);
    pthread_join(watchdog->thread, NULL);
    free_watchdog(watchdog);
}
