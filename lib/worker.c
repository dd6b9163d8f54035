#include "worker.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "front/front.h"
#include "run/port.h"

#define DRAIN_LOOK (20 * HOB_MS)
#define CLOSING_TIME HOB_S /* what requests have to end in, once they are cancelled */

/* State: serving -> draining (told to stop: whoever is connected is served) -> closing (HOB_DRAIN_TIMEOUT: all is
 * cancelled and closed) -> over. It is over as soon as no connection is open. */
typedef struct worker {
    hob_services services;
    hob_front *front;
    hob_timer look; /* set from draining on */
    int64_t deadline;
    bool closing;
} worker;

static hob_loop *signalled_loop;
static volatile sig_atomic_t stop_signals;

static void on_signal(int signal) {
    if (signal != SIGUSR1)
        stop_signals++;
    hob__loop_wake_from_signal(signalled_loop);
}

/* Before FCGX_Init, which leaves handlers alone that are there already; its own would make reads and writes fail. */
static void install_handlers(hob_loop *loop) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    signalled_loop = loop;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

/* It is ending already, and the loop to be woken goes. */
static void ignore_signals(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            hob__log(HOB_LOG_WARN, "the limit of open files cannot be raised: %m");
    }
}

/* Nobody waits for this process any more; the kernel closes what is open. */
_Noreturn static void end_at_once(const worker *w) {
    hob__log(HOB_LOG_WARN, "worker ends with %zu requests in flight", w->services.in_flight);
    _exit(0);
}

static void on_look(hob_timer *timer) {
    worker *w = (worker *)((char *)timer - offsetof(worker, look));
    int64_t now = hob__clock_ns();
    if (!hob__fcgi_busy(w->front)) {
        hob__loop_stop(w->services.loop);
        return;
    }
    if (now >= w->deadline) {
        if (w->closing)
            end_at_once(w);
        hob__log(HOB_LOG_WARN, "HOB_DRAIN_TIMEOUT has passed: closing the connections that are left");
        w->closing = true;
        w->deadline = now + CLOSING_TIME;
        hob__fcgi_close(w->front);
    }
    hob__timer_set(w->services.loop, timer, now + DRAIN_LOOK);
}

static void on_stop(void *arg) {
    worker *w = arg;
    if (stop_signals > 1)
        end_at_once(w);
    if (w->services.draining)
        return;
    hob__log(HOB_LOG_INFO, "worker drains");
    w->services.draining = true;
    hob__fcgi_stop_accepting(w->front);
    int64_t now = hob__clock_ns();
    w->deadline = hob__time_after(now, w->services.config->drain_timeout);
    hob__timer_set(w->services.loop, &w->look, now);
}

static bool open_front(worker *w, char error[256]) {
    const char *what;
    hob__loop_on_signal(w->services.loop, on_stop, w);
    install_handlers(w->services.loop);
    if (FCGX_Init() != 0) {
        snprintf(error, 256, "libfcgi cannot be used: %m");
        return false;
    }
    signal(SIGPIPE, SIG_IGN); /* FCGX_Init put a handler there */
    if (!hob__port_reached(&what)) {
        snprintf(error, 256, "%s is not the one of libhob: link libhob before the libraries it uses", what);
        return false;
    }
    w->front = hob__fcgi_open(&w->services, STDIN_FILENO);
    if (w->front == NULL)
        snprintf(error, 256, "the listening socket cannot be used: %m");
    return w->front != NULL;
}

typedef struct flush {
    hob_task task;
    hob_services *services;
} flush;

static void flush_cache(hob_task *task) {
    hob_services *services = ((flush *)((char *)task - offsetof(flush, task)))->services;
    hob__cache_free(services->cache);
    services->cache = NULL;
    hob__loop_stop(task->loop);
}

/* The last answers' entries may still have to be deleted from the cache, which waits and so needs a task. */
static void close_services(hob_services *services) {
    flush flush = {.task = {.loop = services->loop, .deadline = HOB_FOREVER}, .services = services};
    if (services->cache != NULL && hob__task_start(&flush.task, flush_cache))
        hob__loop_run(services->loop);
    hob__services_close(services);
    hob__fiber_pool_free();
}

bool hob__worker_run(hob_app *app, const hob_config *config, char error[256]) {
    worker w = {.look.on_expire = on_look};
    raise_file_limit();
    if (!hob__services_open(&w.services, app, config, error))
        return false;
    bool opened = open_front(&w, error);
    if (opened) {
        hob__log(HOB_LOG_INFO, "worker serves");
        hob__loop_run(w.services.loop);
        hob__log(HOB_LOG_INFO, "worker ends");
        hob__fcgi_free(w.front);
    }
    ignore_signals();
    close_services(&w.services);
    return opened;
}

bool hob__worker_run_once(hob_app *app, const hob_config *config, char error[256]) {
    hob_services services;
    signal(SIGPIPE, SIG_IGN);
    if (!hob__services_open(&services, app, config, error))
        return false;
    bool served = hob__cgi_run(&services) == 0;
    if (!served)
        snprintf(error, 256, "out of memory");
    close_services(&services);
    return served;
}
