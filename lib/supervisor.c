/*
 * The supervisor: one small loop around poll. It speaks to nothing but its workers, the terminal and systemd, so there
 * is little in it that could fail, and it need not be replaced when the program is: a reload starts workers of the
 * binary and the configuration file that lie on the disk by then, while the supervisor goes on as the program it was,
 * with the sockets it holds.
 *
 * A slot is a number below `count` that a worker shall have. Its worker is `child`; while a roll is under way
 * `candidate` is the one of the new generation, which takes the place of `child` when all candidates are ready. All
 * processes are in `children`; those of no slot are draining.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "observe/notify.h"
#include "supervisor_private.h"

/* ---- What others are told ---- */

static void tell_status(hob_supervisor *s) {
    char text[sizeof(s->status)];
    unsigned ready = hob__supervisor_ready(s), looping = hob__supervisor_looping(s);
    int size = snprintf(text, sizeof(text), "%u of %u workers ready, generation %u", ready, s->count, s->generation);
    if (looping > 0)
        snprintf(text + size, sizeof(text) - (size_t)size, "; %u die again and again, see the log", looping);
    s->board->service.workers = s->count;
    s->board->service.generation = s->generation;
    if (strcmp(text, s->status) != 0) {
        snprintf(s->status, sizeof(s->status), "%s", text);
        hob__notify("STATUS=%s", text);
    }
    if (ready > 0 && !s->told_ready) {
        s->told_ready = true;
        hob__notify("READY=1");
    }
}

static void dump_state(const hob_supervisor *s) {
    static const char *const STATES[] = {"starting", "ready", "draining"};
    int64_t now = hob__clock_ns();
    hob__log(HOB_LOG_INFO, "supervisor: %s%s", s->status, s->roll_count > 0 ? "; a new generation starts" : "");
    for (const hob_child *child = s->children; child != NULL; child = child->next)
        hob__log(HOB_LOG_INFO, "worker %u: pid %d, generation %u, %s, %" PRId64 " s old", child->number,
                 (int)child->pid, child->generation, STATES[child->state], hob__seconds(now - child->started));
    for (unsigned i = 0; i < s->count; i++) {
        const hob_worker_slot *slot = &s->slots[i];
        if (slot->child == NULL)
            hob__log(HOB_LOG_INFO, "worker %u: none; the next starts in %" PRId64 " ms", i,
                     slot->start_at > now ? (slot->start_at - now) / HOB_MS : 0);
    }
}

/* ---- Signals ---- */

static int kill_all(hob_supervisor *s, const char *why) {
    unsigned killed = 0;
    for (const hob_child *child = s->children; child != NULL; child = child->next)
        killed++;
    hob__log(HOB_LOG_WARN, "%s: supervisor ends at once, and kills %u workers", why, killed);
    s->board->service.killed += killed;
    while (s->children != NULL) {
        hob_child *child = s->children;
        s->children = child->next;
        hob__supervisor_signal(child, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        hob__slot_release_dead(s->board, child->pid);
        hob__child_free(child);
    }
    return killed > 0;
}

static void stop(hob_supervisor *s) {
    hob__log(HOB_LOG_INFO, "supervisor stops: its workers drain");
    hob__notify("STOPPING=1\nSTATUS=the workers drain");
    if (s->roll_count > 0)
        hob__supervisor_fail_roll(s, "the supervisor was told to stop");
    hob__listeners_turn_away(&s->listeners);
    for (hob_child *child = s->children; child != NULL; child = child->next)
        hob__supervisor_drain(s, child);
}

static void reopen_logs(hob_supervisor *s) {
    if (!hob__log_reopen())
        hob__log(HOB_LOG_ERROR, "HOB_LOG: %s cannot be opened anew, the old file stays in use: %m", s->config.log);
    for (const hob_child *child = s->children; child != NULL; child = child->next)
        if (child->state != HOB_CHILD_STARTING) /* else it has just opened it, or is about to */
            hob__supervisor_signal(child, SIGUSR2);
}

static void change_count(hob_supervisor *s, int by) {
    unsigned count = s->count + (unsigned)by;
    if (s->roll_count > 0) {
        hob__log(HOB_LOG_WARN, "the number of workers is not changed while a new generation starts");
    } else if (count < 1 || count > HOB_WORKERS_MOST) {
        hob__log(HOB_LOG_WARN, "the number of workers stays at %u", s->count);
    } else {
        hob__log(HOB_LOG_INFO, "%u workers instead of %u", count, s->count);
        if (by < 0)
            hob__supervisor_resize(s, count);
        s->count = count;
    }
}

static void on_signal(hob_supervisor *s, int signal) {
    switch (signal) {
    case SIGTERM:
    case SIGINT:
        if (s->stop_signals++ == 0)
            stop(s);
        break;
    case SIGHUP:
        s->roll_again = s->stop_signals == 0;
        break;
    case SIGUSR1:
        reopen_logs(s);
        break;
    case SIGUSR2:
        dump_state(s);
        break;
    case SIGTTIN:
    case SIGTTOU:
        if (s->stop_signals == 0)
            change_count(s, signal == SIGTTIN ? 1 : -1);
        break;
    default: /* SIGCHLD: the loop reaps in any case */
        break;
    }
}

/* false: end at once. */
static bool take_signals(hob_supervisor *s, const char **why) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        on_signal(s, (int)info.ssi_signo);
        *why = info.ssi_signo == SIGQUIT ? "SIGQUIT" : "told to stop a second time";
        if (info.ssi_signo == SIGQUIT || s->stop_signals > 1)
            return false;
    }
    return true;
}

/* ---- Time ---- */

static bool slot_waits(const hob_supervisor *s, const hob_worker_slot *slot) {
    return slot->child == NULL && slot->candidate == NULL && s->stop_signals == 0;
}

static void child_is_late(hob_supervisor *s, hob_child *child) {
    char why[160];
    if (child->state == HOB_CHILD_DRAINING) {
        hob__log(HOB_LOG_ERROR, "worker %u (pid %d) does not end: killed", child->number, (int)child->pid);
        s->board->service.killed++;
    } else if (child == s->slots[child->number].candidate) {
        snprintf(why, sizeof(why), "worker %u (pid %d) of generation %u was not ready within %" PRId64 " ms",
                 child->number, (int)child->pid, child->generation, s->config.start_timeout / HOB_MS);
        hob__supervisor_fail_roll(s, why);
        return;
    } else {
        hob__log(HOB_LOG_ERROR, "worker %u (pid %d) is not ready within %" PRId64 " ms: killed", child->number,
                 (int)child->pid, s->config.start_timeout / HOB_MS);
    }
    child->deadline = HOB_FOREVER;
    hob__supervisor_signal(child, SIGKILL);
}

static void on_time(hob_supervisor *s) {
    int64_t now = hob__clock_ns();
    for (hob_child *child = s->children; child != NULL; child = child->next)
        if (child->state != HOB_CHILD_READY && child->deadline <= now)
            child_is_late(s, child);
    for (unsigned i = 0; i < s->count; i++)
        if (slot_waits(s, &s->slots[i]) && s->slots[i].start_at <= now)
            hob__supervisor_start(s, i);
    if (s->notify_interval > 0 && s->notify_at <= now) {
        hob__notify("WATCHDOG=1");
        s->notify_at = now + s->notify_interval;
    }
}

static int ms_until_due(const hob_supervisor *s) {
    int64_t now = hob__clock_ns(), at = now + 60 * HOB_S;
    for (const hob_child *child = s->children; child != NULL; child = child->next)
        if (child->state != HOB_CHILD_READY && child->deadline < at)
            at = child->deadline;
    for (unsigned i = 0; i < s->count; i++)
        if (slot_waits(s, &s->slots[i]) && s->slots[i].start_at < at)
            at = s->slots[i].start_at;
    if (s->notify_interval > 0 && s->notify_at < at)
        at = s->notify_at;
    return at > now ? (int)((at - now + HOB_MS - 1) / HOB_MS) : 0;
}

/* ---- The loop ---- */

static void wait_for_events(hob_supervisor *s) {
    static struct pollfd fds[1 + 4 * HOB_WORKERS_MOST]; /* four generations; what is missed waits for the next event */
    nfds_t count = 1;
    fds[0] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    for (const hob_child *child = s->children; child != NULL && count < sizeof(fds) / sizeof(fds[0]);
         child = child->next)
        fds[count++] = (struct pollfd){.fd = child->tie, .events = POLLIN};
    (void)poll(fds, count, ms_until_due(s)); /* what it says is found out anyway */
}

static int run(hob_supervisor *s) {
    const char *why;
    on_time(s);
    do {
        tell_status(s);
        wait_for_events(s);
        if (!take_signals(s, &why))
            return kill_all(s, why);
        hob__supervisor_hear(s);
        hob__supervisor_reap(s);
        on_time(s);
        if (s->roll_again && s->roll_count == 0 && s->stop_signals == 0)
            hob__supervisor_roll(s);
    } while (s->stop_signals == 0 || s->children != NULL);
    hob__log(HOB_LOG_INFO, "supervisor ends");
    return s->board->service.killed > 0;
}

/* ---- Start ---- */

static int block_signals(void) {
    static const int TAKEN[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(TAKEN) / sizeof(TAKEN[0]); i++)
        sigaddset(&set, TAKEN[i]);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would leave nothing to wait for */
    signal(SIGPIPE, SIG_IGN);
    return sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC) : -1;
}

/* Sockets land at 3 and above. */
static bool open_standard_fds(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool listen_for_all(hob_supervisor *s, char error[256]) {
    for (unsigned i = 0; i < s->count; i++)
        if (hob__listeners_of(&s->listeners, i, error) < 0)
            return false;
    return true;
}

/* What an earlier supervisor left behind tells whether its socket may be taken. */
static bool open_sockets(hob_supervisor *s, const char *application, char error[256]) {
    char path[PATH_MAX], none[256];
    s->listeners.config = &s->config;
    if (!hob__listeners_inherit(&s->listeners, error))
        return false;
    hob__listeners_scoreboard(&s->config, path);
    const hob_scoreboard *left = hob__scoreboard_view(path, application, none);
    s->listeners.left = left;
    bool good = listen_for_all(s, error);
    s->listeners.left = NULL;
    if (left != NULL)
        hob__scoreboard_close(left);
    return good;
}

static bool open_board(hob_supervisor *s, const char *application, char path[PATH_MAX], char error[256]) {
    s->board = hob__scoreboard_open(s->config.scoreboard, application, s->listeners.list[0].fd, path);
    if (s->board == NULL) {
        snprintf(error, 256, "out of memory");
        return false;
    }
    s->last_generation = s->generation = s->board->service.generation + 1; /* they count on, like the rolls */
    s->board->service.rolls_ended = s->board->service.rolls_begun;
    s->board->service.killed = 0;
    s->board->service.supervisor = hob__owner_of(getpid());
    return true;
}

static int supervise(hob_supervisor *s, const hob_supervision *supervision, char error[256]) {
    char board_path[PATH_MAX];
    if (!open_sockets(s, supervision->application, error) ||
        !open_board(s, supervision->application, board_path, error))
        return 1;
    if (supervision->pid_file != NULL)
        hob__pid_file_link(supervision->pid_file, board_path);
    int status = 1;
    if (hob__program_init(&s->program, supervision, board_path)) {
        hob__log(HOB_LOG_INFO, "supervisor starts %u workers of %s", s->count, s->program.path);
        status = run(s);
    } else {
        snprintf(error, 256, "the program cannot be found: %m");
    }
    hob__program_free(&s->program);
    s->board->service.supervisor = 0;
    hob__scoreboard_close(s->board);
    return status;
}

static int start(hob_supervisor *s, const hob_supervision *supervision, char error[256]) {
    int pid_file = -1;
    if (!open_standard_fds() || (s->signals = block_signals()) < 0) {
        snprintf(error, 256, "the supervisor cannot be set up: %m");
        return 1;
    }
    if (supervision->pid_file != NULL && (pid_file = hob__pid_file_take(supervision->pid_file, error)) < 0)
        return 1;
    int status = supervise(s, supervision, error);
    hob__listeners_free(&s->listeners);
    if (pid_file >= 0)
        hob__pid_file_release(supervision->pid_file, pid_file);
    close(s->signals);
    return status;
}

int hob__supervisor_run(const hob_supervision *supervision, char error[256]) {
    static hob_supervisor s; /* large for a stack; one a process */
    s = (hob_supervisor){.config = *supervision->config,
                         .given_environment = supervision->environment,
                         .notify_interval = hob__notify_interval_ns()};
    s.count = hob__supervisor_wanted(&s.config);
    return start(&s, supervision, error);
}
