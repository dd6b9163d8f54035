/* What the command line asks of a running supervisor: a signal, and then its outcome, which is in the scoreboard. */
#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "supervisor_private.h"

#define LOOK_MS 50

static int refuse(const char *error) {
    fprintf(stderr, "%s\n", error);
    return 1;
}

typedef struct target {
    pid_t pid;
    int pidfd; /* turns readable when the process has ended */
    const hob_scoreboard *board;
} target;

static const hob_scoreboard *board_of(const char *application, const char *pid_file, char error[256]) {
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s" HOB_PID_FILE_BOARD, pid_file);
    return hob__scoreboard_view(path, application, error);
}

static bool find(target *target, const char *application, const char *pid_file, char error[256]) {
    target->pid = hob__pid_file_read(pid_file, error);
    if (target->pid == 0)
        return false;
    target->pidfd = (int)syscall(SYS_pidfd_open, target->pid, 0);
    if (target->pidfd < 0) {
        snprintf(error, 256, "process %d: %m", (int)target->pid);
        return false;
    }
    target->board = board_of(application, pid_file, error);
    if (target->board == NULL)
        close(target->pidfd);
    return target->board != NULL;
}

static bool send_signal(const target *target, int signal, char error[256]) {
    if (syscall(SYS_pidfd_send_signal, target->pidfd, signal, NULL, 0) == 0)
        return true;
    snprintf(error, 256, "process %d cannot be sent a signal: %m", (int)target->pid);
    return false;
}

static bool ended_within(const target *target, int ms) {
    struct pollfd ended = {.fd = target->pidfd, .events = POLLIN};
    return poll(&ended, 1, ms) == 1;
}

static void leave(const target *target) {
    hob__scoreboard_close(target->board);
    close(target->pidfd);
}

/* The next roll to begin is ours: one that is under way began before the signal, and it is followed by another. Each is
 * bounded by HOB_START_TIMEOUT, so there is nothing to bound here. */
static int wait_for_roll(const target *target) {
    const hob_service *service = &target->board->service;
    char error[256];
    uint32_t ours = service->rolls_begun + 1;
    if (!send_signal(target, SIGHUP, error))
        return refuse(error);
    while ((int32_t)(service->rolls_ended - ours) < 0)
        if (ended_within(target, LOOK_MS))
            return refuse("the supervisor has ended");
    if ((int32_t)(service->roll_failed - ours) >= 0 && service->roll_failed != 0) {
        fprintf(stderr, "reload failed, generation %u goes on: %.*s\n", service->generation,
                (int)sizeof(service->roll_fault), service->roll_fault);
        return 1;
    }
    printf("reloaded: generation %u serves with %u workers\n", service->generation, service->workers);
    return 0;
}

int hob__supervisor_reload(const char *application, const char *pid_file) {
    target target;
    char error[256];
    if (!find(&target, application, pid_file, error))
        return refuse(error);
    int status = wait_for_roll(&target);
    leave(&target);
    return status;
}

static int wait_for_end(const target *target) {
    char error[256];
    if (!send_signal(target, SIGTERM, error))
        return refuse(error);
    while (!ended_within(target, -1)) /* a signal of our own */
        ;
    uint64_t killed = target->board->service.killed;
    if (killed > 0)
        fprintf(stderr, "stopped, but %" PRIu64 " workers had to be killed\n", killed);
    else
        printf("stopped\n");
    return killed > 0;
}

int hob__supervisor_stop(const char *application, const char *pid_file) {
    target target;
    char error[256];
    if (!find(&target, application, pid_file, error))
        return refuse(error);
    int status = wait_for_end(&target);
    leave(&target);
    return status;
}

/* ---- status ---- */

/* What a slot's present owner has counted. */
static uint64_t own(const _Atomic uint64_t *counter, const _Atomic uint64_t *base) {
    return *counter - *base;
}

static double seconds_since(int64_t us) {
    return (double)(hob__clock_wall_us() - us) / 1e6;
}

static pid_t supervisor_of(const hob_scoreboard *board) {
    hob_owner owner = board->service.supervisor;
    return hob__owner_alive(owner) ? hob__owner_pid(owner) : 0;
}

static void print_table(const hob_scoreboard *board, const hob_totals *totals) {
    const hob_service *service = &board->service;
    printf("%s: %u workers, %u ready", board->application, totals->workers, totals->ready);
    if (supervisor_of(board) != 0)
        printf("; supervisor %d, generation %u, %u workers wanted", (int)supervisor_of(board), service->generation,
               service->workers);
    printf("\nrequests %" PRIu64 ", failed (5xx) %" PRIu64 ", in flight %u, connections %u, unexpected deaths %" PRIu64
           "\n\n%8s %-8s %4s %10s %12s %8s %9s %11s %9s\n",
           totals->requests, totals->failed, totals->in_flight, totals->connections, service->deaths, "pid", "state",
           "gen", "age", "requests", "5xx", "in flight", "connections", "memory");
    for (const hob_slot *slot = NULL; (slot = hob__slot_next(board, slot)) != NULL;)
        printf("%8d %-8s %4u %9.0fs %12" PRIu64 " %8" PRIu64 " %9u %11u %8.1fM\n", (int)hob__owner_pid(slot->owner),
               hob__worker_state_name(slot->state), slot->generation, seconds_since(slot->started_us),
               own(&slot->counters.requests, &slot->base.requests), own(&slot->counters.failed, &slot->base.failed),
               slot->in_flight, slot->connections, (double)slot->rss / (1 << 20));
}

/* The application's name is its author's own; all else are numbers and words of ours. */
static void print_json(const hob_scoreboard *board, const hob_totals *totals) {
    const hob_service *service = &board->service;
    const char *comma = "";
    printf("{\"application\":\"%s\",\"supervisor\":%d,\"generation\":%u,\"wanted\":%u,\"workers\":%u,\"ready\":%u,"
           "\"requests\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"in_flight\":%u,\"connections\":%u,\"deaths\":%" PRIu64
           ",\"reloads\":%u,\"slots\":[",
           board->application, (int)supervisor_of(board), service->generation, service->workers, totals->workers,
           totals->ready, totals->requests, totals->failed, totals->in_flight, totals->connections, service->deaths,
           service->rolls_ended);
    for (const hob_slot *slot = NULL; (slot = hob__slot_next(board, slot)) != NULL; comma = ",")
        printf("%s{\"slot\":%zu,\"pid\":%d,\"state\":\"%s\",\"generation\":%u,\"age_s\":%.1f,\"seen_s\":%.1f,"
               "\"requests\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"in_flight\":%u,\"connections\":%u,\"rss\":%" PRIu64
               "}",
               comma, hob__slot_number(board, slot), (int)hob__owner_pid(slot->owner),
               hob__worker_state_name(slot->state), slot->generation, seconds_since(slot->started_us),
               seconds_since(slot->seen_us), own(&slot->counters.requests, &slot->base.requests),
               own(&slot->counters.failed, &slot->base.failed), slot->in_flight, slot->connections, slot->rss);
    printf("]}\n");
}

static int print(const hob_scoreboard *board, bool json) {
    hob_totals totals = hob__scoreboard_totals(board);
    if (json)
        print_json(board, &totals);
    else
        print_table(board, &totals);
    hob__scoreboard_close(board);
    return totals.ready > 0 ? 0 : 1;
}

int hob__supervisor_status_of(const char *application, const char *pid_file, bool json) {
    char error[256];
    const hob_scoreboard *board = board_of(application, pid_file, error);
    return board != NULL ? print(board, json) : refuse(error);
}

int hob__supervisor_status(const char *application, const hob_config *config, bool json) {
    char path[PATH_MAX], error[256];
    hob__listeners_scoreboard(config, path);
    if (path[0] == '\0')
        return refuse("which service? Name its --pid-file, or set HOB_SCOREBOARD or HOB_LISTEN as it has them");
    const hob_scoreboard *board = hob__scoreboard_view(path, application, error);
    return board != NULL ? print(board, json) : refuse(error);
}
