/*
 * The life of a worker. A timer (`look`) asks every so often whether it is time for the next state:
 *
 *   starting   it listens, and connects to the database
 *              -> ready: connected, or START_TIME has passed (the database may be what is broken)
 *   ready      the supervisor has been told
 *   (both)     -> draining: SIGTERM, SIGINT or SIGUSR1; the supervisor has died; the worker has served enough requests,
 *              has lived long enough, or has grown too large
 *   draining   no connection is accepted; those that are open are served until the web server closes them
 *              -> over: none is left       -> closing: HOB_DRAIN_TIMEOUT has passed
 *   closing    requests are cancelled and connections closed
 *              -> over: none is left       -> the end, with what is left: CLOSING_TIME has passed
 *   over       the loop has stopped; the cache's last deletes are sent, and all is given back
 *
 * The process ends at once, in any state, by SIGQUIT, by a SIGTERM or SIGINT that comes at least REPEATED after the
 * first one, when it crashes (crash.c), and when it hangs (watchdog.c).
 */
#include "worker.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "crash.h"
#include "front/front.h"
#include "observe/scoreboard.h"
#include "run/port.h"
#include "supervised.h"
#include "watchdog.h"

#define START_TIME HOB_S
#define CLOSING_TIME HOB_S      /* what requests have to end in, once they are cancelled */
#define REPEATED (2 * HOB_S)    /* mod_fcgid sends SIGTERM a second time after one second, whatever we do */
#define LOOK_SOON (20 * HOB_MS) /* while a state is to last for a moment */
#define LOOK_LATER (1 * HOB_S)  /* while ready */

typedef enum state { STARTING, READY, DRAINING, CLOSING } state;

/* When it has done enough. Up to a tenth below what is configured: workers that were started together do not leave
 * together. */
typedef struct retirement {
    uint64_t requests, rss;
    int64_t at;
} retirement;

typedef struct worker {
    state state;
    hob_services services;
    hob_front *front;
    hob_watchdog *watchdog; /* NULL: off */
    hob_watch supervisor;
    hob_timer look;
    int64_t deadline; /* of the state, if it has one */
    retirement retirement;
    hob_turn_hook turn;
    hob_scoreboard *board;
    hob_slot *slot; /* own_slot when the scoreboard has none for us */
    hob_slot own_slot;
} worker;

static void drain(worker *w, const char *why);

/* ---- Signals: the handlers take notes, and the loop does the work ---- */

static worker *signalled;
static volatile sig_atomic_t drain_asked, reopen_asked;

/* In the handler itself, since the loop may be what keeps it from ending. Nobody waits for this process any more; the
 * kernel closes what is open. */
_Noreturn static void end_at_once(void) {
    hob_log_line line;
    if (hob__log_enabled(HOB_LOG_WARN)) {
        hob__log_begin(&line, HOB_LOG_WARN, HOB_TEXT("worker ends at once"));
        hob__log_int(&line, "in_flight", (int64_t)signalled->services.in_flight);
        hob__log_end(&line);
    }
    _exit(0);
}

static bool is_repeated(int signal) {
    static int64_t first;
    if (signal == SIGUSR1)
        return false;
    int64_t now = hob__clock_ns();
    if (first == 0)
        first = now;
    return now - first >= REPEATED;
}

static void on_signal(int signal) {
    if (signal == SIGQUIT || (signal != SIGUSR2 && is_repeated(signal)))
        end_at_once();
    if (signal == SIGUSR2)
        reopen_asked = 1;
    else
        drain_asked = 1;
    hob__loop_wake_from_signal(signalled->services.loop);
}

static void on_signalled(void *arg) {
    worker *w = arg;
    if (reopen_asked) {
        reopen_asked = 0;
        if (!hob__log_reopen())
            hob__log(HOB_LOG_ERROR, "the log cannot be reopened: %m");
    }
    if (drain_asked)
        drain(w, "a signal");
}

static void set_signals(void (*handler)(int)) {
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i], &action, NULL);
}

/* ---- Starting ---- */

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            hob__log(HOB_LOG_WARN, "the limit of open files cannot be raised: %m");
    }
}

/* The handlers come before FCGX_Init, which leaves those alone that are there already; its own would make reads and
 * writes fail. */
static bool open_front(worker *w, char error[256]) {
    const char *what;
    signalled = w;
    hob__loop_on_signal(w->services.loop, on_signalled, w);
    set_signals(on_signal);
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

static bool open_slot(worker *w, hob_app *app, const hob_config *config, char error[256]) {
    char path[PATH_MAX];
    w->board = hob__scoreboard_open(config->scoreboard, hob__application(app)->name, STDIN_FILENO, path);
    if (w->board == NULL) {
        snprintf(error, 256, "out of memory");
        return false;
    }
    w->slot = hob__slot_claim(w->board, hob__supervised_generation());
    if (w->slot == NULL)
        w->slot = &w->own_slot;
    return true;
}

static hob_services_shared shared_of(const worker *w) {
    if (w->slot == &w->own_slot)
        return (hob_services_shared){0};
    return (hob_services_shared){.cache = &w->board->cache, .slot = hob__slot_number(w->board, w->slot)};
}

static void on_supervisor(hob_watch *watch, uint32_t events) {
    (void)events;
    worker *w = hob__container_of(watch, worker, supervisor);
    hob__loop_unwatch(w->services.loop, watch);
    drain(w, "the supervisor has died");
}

static void watch_supervisor(worker *w) {
    w->supervisor = (hob_watch){.fd = hob__supervised_fd(), .on_event = on_supervisor};
    if (w->supervisor.fd >= 0 && !hob__loop_watch(w->services.loop, &w->supervisor, EPOLLIN))
        hob__log(HOB_LOG_ERROR, "the supervisor cannot be watched: %m");
}

/* A worker without these serves as well; only its end would be less orderly. */
static void guard(worker *w) {
    int64_t limit = w->services.config->watchdog;
    if (!hob__crash_install(w->services.loop))
        hob__log(HOB_LOG_WARN, "a crash will not be handled: %m");
    else if (limit > 0 && (w->watchdog = hob__watchdog_start(w->services.loop, limit)) == NULL)
        hob__log(HOB_LOG_WARN, "the watchdog cannot be started: %m");
}

static int64_t a_little_less(int64_t limit) {
    return limit - (int64_t)(hob__random() % (uint64_t)(limit / 10 + 1));
}

static retirement plan_retirement(const hob_config *config) {
    retirement plan = {.requests = UINT64_MAX, .rss = UINT64_MAX, .at = HOB_FOREVER};
    if (config->worker_max_requests > 0)
        plan.requests = (uint64_t)a_little_less(config->worker_max_requests);
    if (config->worker_max_rss > 0)
        plan.rss = (uint64_t)a_little_less(config->worker_max_rss);
    if (config->worker_max_age > 0)
        plan.at = hob__time_after(hob__clock_ns(), a_little_less(config->worker_max_age));
    return plan;
}

static bool is_connected(const worker *w) {
    return w->services.db == NULL || hob__db_up(w->services.db);
}

/* ---- Ready ---- */

static void become_ready(worker *w) {
    w->state = READY;
    w->slot->state = HOB_WORKER_READY;
    hob__log(HOB_LOG_INFO, "worker serves");
    hob__supervised_ready();
}

static void publish(worker *w) {
    const hob_services *services = &w->services;
    w->slot->counters.requests = w->slot->base.requests + services->served;
    w->slot->counters.failed = w->slot->base.failed + services->failed;
    w->slot->in_flight = (uint32_t)services->in_flight;
    w->slot->connections = (uint32_t)hob__fcgi_connections(w->front);
}

static void on_turn(hob_turn_hook *hook) {
    worker *w = hob__container_of(hook, worker, turn);
    publish(w);
    if (w->services.served >= w->retirement.requests)
        drain(w, "HOB_WORKER_MAX_REQUESTS");
}

static void retire_if_due(worker *w, int64_t now) {
    if (now >= w->retirement.at)
        drain(w, "HOB_WORKER_MAX_AGE");
    else if (w->slot->rss >= w->retirement.rss)
        drain(w, "HOB_WORKER_MAX_RSS");
}

/* ---- Draining and closing ---- */

static void look_at(worker *w, int64_t at) {
    hob__timer_set(w->services.loop, &w->look, at);
}

static void drain(worker *w, const char *why) {
    if (w->state >= DRAINING)
        return;
    hob__log(HOB_LOG_INFO, "worker drains: %s", why);
    w->state = DRAINING;
    w->slot->state = HOB_WORKER_DRAINING;
    w->services.draining = true; /* /readyz says so */
    hob__supervised_draining();
    hob__fcgi_stop_accepting(w->front);
    int64_t now = hob__clock_ns();
    w->deadline = hob__time_after(now, w->services.config->drain_timeout);
    look_at(w, now);
}

static void close_connections(worker *w) {
    hob__log(HOB_LOG_WARN, "HOB_DRAIN_TIMEOUT has passed: closing the connections that are left");
    w->state = CLOSING;
    w->deadline = hob__clock_ns() + CLOSING_TIME;
    hob__fcgi_close(w->front);
}

/* ---- From state to state ---- */

static void on_look(hob_timer *timer) {
    worker *w = hob__container_of(timer, worker, look);
    int64_t now = hob__clock_ns();
    hob__slot_sample(w->slot);
    switch (w->state) {
    case STARTING:
        if (is_connected(w) || now >= w->deadline)
            become_ready(w);
        break;
    case READY:
        retire_if_due(w, now);
        break;
    case DRAINING:
        if (now >= w->deadline)
            close_connections(w);
        break;
    case CLOSING:
        if (now >= w->deadline)
            end_at_once();
        break;
    }
    if (w->state >= DRAINING && hob__fcgi_connections(w->front) == 0)
        hob__loop_stop(w->services.loop);
    else
        look_at(w, now + (w->state == READY ? LOOK_LATER : LOOK_SOON));
}

static void live(worker *w) {
    hob_loop *loop = w->services.loop;
    watch_supervisor(w);
    w->retirement = plan_retirement(w->services.config);
    w->turn.on_turn = on_turn;
    hob__loop_hook(loop, &w->turn);
    w->deadline = hob__clock_ns() + START_TIME;
    look_at(w, hob__clock_ns());
    guard(w);
    hob__loop_run(loop);
    hob__watchdog_stop(w->watchdog);
    hob__loop_unhook(loop, &w->turn);
    publish(w);
    hob__log(HOB_LOG_INFO, "worker ends");
}

/* ---- Over ---- */

typedef struct flush {
    hob_task task;
    hob_services *services;
} flush;

static void flush_cache(hob_task *task) {
    hob_services *services = hob__container_of(task, flush, task)->services;
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

static void close_all(worker *w) {
    set_signals(SIG_IGN); /* it is ending already, and the loop to be woken goes */
    if (w->front != NULL)
        hob__fcgi_free(w->front);
    close_services(&w->services);
    if (w->slot != NULL)
        hob__slot_release(w->slot);
    if (w->board != NULL)
        hob__scoreboard_close(w->board);
}

/* ---- All of it ---- */

bool hob__worker_run(hob_app *app, const hob_config *config, char error[256]) {
    worker w = {.look.on_expire = on_look, .supervisor.fd = -1};
    raise_file_limit();
    (void)hob__supervised_fd(); /* before there are threads */
    bool opened = open_slot(&w, app, config, error) &&
                  hob__services_open(&w.services, app, config, shared_of(&w), error) && open_front(&w, error);
    if (opened)
        live(&w);
    close_all(&w);
    return opened;
}

bool hob__worker_run_once(hob_app *app, const hob_config *config, char error[256]) {
    hob_services services;
    signal(SIGPIPE, SIG_IGN);
    if (!hob__services_open(&services, app, config, (hob_services_shared){0}, error))
        return false;
    if (!hob__crash_install(services.loop))
        hob__log(HOB_LOG_WARN, "a crash will not be handled: %m");
    bool served = hob__cgi_run(&services) == 0;
    if (!served)
        snprintf(error, 256, "out of memory");
    close_services(&services);
    return served;
}
