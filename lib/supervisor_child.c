/* One worker process. */
#include "supervisor_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "supervised.h"

#define TIE_FD 3 /* where a worker finds its end */
#define ADDED 3  /* variables */

/* ---- The program ---- */

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* A path, not an open file: a new generation is of the binary that lies there by then. argv[0] goes before what
 * /proc says, since it may lead through a symbolic link that a deployment moves. */
static bool find_program(char path[PATH_MAX], const char *argv0) {
    char directory[PATH_MAX] = "";
    if (argv0[0] != '/' && getcwd(directory, sizeof(directory) - 1) != NULL)
        directory[strlen(directory)] = '/'; /* what follows is zero */
    if (strchr(argv0, '/') != NULL && snprintf(path, PATH_MAX, "%s%s", directory, argv0) < PATH_MAX &&
        same_file(path, "/proc/self/exe"))
        return true;
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = '\0';
    return size > 0;
}

static bool is_own(const char *variable) {
    static const char *const OWN[] = {"NOTIFY_SOCKET=",  "WATCHDOG_USEC=",      "WATCHDOG_PID=",
                                      "LISTEN_PID=",     "LISTEN_FDS=",         "LISTEN_FDNAMES=",
                                      "HOB_SCOREBOARD=", HOB_SUPERVISED_FD "=", HOB_SUPERVISED_GENERATION "="};
    for (size_t i = 0; i < sizeof(OWN) / sizeof(OWN[0]); i++)
        if (strncmp(variable, OWN[i], strlen(OWN[i])) == 0)
            return true;
    return false;
}

bool hob__program_init(hob_program *program, const hob_supervision *supervision, const char *scoreboard) {
    size_t count = 0;
    *program = (hob_program){.argv0 = supervision->argv0, .scoreboard = scoreboard};
    while (supervision->environment[count] != NULL)
        count++;
    program->environment = calloc(count + ADDED + 1, sizeof(char *));
    if (program->environment == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!is_own(supervision->environment[i]))
            program->environment[program->given++] = supervision->environment[i];
    return find_program(program->path, supervision->argv0);
}

void hob__program_free(hob_program *program) {
    free(program->environment);
}

/* ---- Starting ---- */

/* A group of its own: a Ctrl-C at the terminal is for the supervisor, which tells its workers itself. */
static int spawn_with(const hob_program *program, posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                      pid_t *pid) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0);
    return posix_spawn(pid, program->path, actions, attributes, (char *[]){(char *)program->argv0, NULL},
                       program->environment);
}

static int spawn(const hob_program *program, int listening, int tie, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&actions, listening, STDIN_FILENO);
        if (error == 0)
            error = posix_spawn_file_actions_adddup2(&actions, tie, TIE_FD); /* the same fd: it only stays open */
        if (error == 0)
            error = spawn_with(program, &actions, &attributes, pid);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int spawn_with_environment(const hob_program *program, int listening, int tie, hob_child *child) {
    char fd[64], generation[64], scoreboard[PATH_MAX + 32];
    char **added = program->environment + program->given;
    snprintf(fd, sizeof(fd), "%s=%d", HOB_SUPERVISED_FD, TIE_FD);
    snprintf(generation, sizeof(generation), "%s=%u", HOB_SUPERVISED_GENERATION, child->generation);
    snprintf(scoreboard, sizeof(scoreboard), "HOB_SCOREBOARD=%s", program->scoreboard);
    added[0] = fd;
    added[1] = generation;
    added[2] = program->scoreboard[0] != '\0' ? scoreboard : NULL;
    int error = spawn(program, listening, tie, &child->pid);
    added[0] = NULL;
    return error;
}

hob_child *hob__child_start(const hob_program *program, int listening, unsigned number, unsigned generation) {
    int ends[2];
    hob_child *child = malloc(sizeof(*child));
    if (child == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        free(child);
        return NULL;
    }
    *child = (hob_child){.tie = ends[0], .number = number, .generation = generation, .started = hob__clock_ns()};
    int error = spawn_with_environment(program, listening, ends[1], child);
    close(ends[1]);
    if (error == 0)
        return child;
    hob__child_free(child);
    errno = error;
    return NULL;
}

char hob__child_hear(hob_child *child) {
    char said = '\0';
    ssize_t size = child->tie >= 0 ? read(child->tie, &said, 1) : -1;
    if (size == 0 || (size < 0 && child->tie >= 0 && errno != EAGAIN && errno != EINTR)) {
        close(child->tie); /* it has ended, or wants to hear no more of us */
        child->tie = -1;
    }
    return size == 1 ? said : '\0';
}

void hob__child_free(hob_child *child) {
    if (child->tie >= 0)
        close(child->tie);
    free(child);
}

void hob__wait_status_describe(int status, char *out, size_t size) {
    if (WIFSIGNALED(status))
        snprintf(out, size, "was killed by signal %d (%s%s)", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WCOREDUMP(status) ? ", core dumped" : "");
    else
        snprintf(out, size, "exited with status %d", WEXITSTATUS(status));
}
