/* What the parts of the supervisor share. */
#ifndef HOB_SUPERVISOR_PRIVATE_H
#define HOB_SUPERVISOR_PRIVATE_H

#include <limits.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "observe/scoreboard.h"
#include "supervisor.h"

#define HOB_WORKERS_MOST 200             /* two generations fit the scoreboard */
#define HOB_PID_FILE_BOARD ".scoreboard" /* a link beside the pid file, for the commands to find the scoreboard */

/* ---- supervisor_listen.c: the listening sockets ---- */

typedef struct hob_listener {
    int fd;
    char *name;   /* as configured, %d filled in; NULL: inherited */
    dev_t device; /* of the socket file */
    ino_t inode;  /* 0: no file */
} hob_listener;

typedef struct hob_listeners {
    const hob_config *config;
    const hob_scoreboard *left; /* by an earlier supervisor of this socket; NULL: nothing */
    hob_listener *list;         /* inherited ones, or those that have been opened so far */
    size_t count;
    bool inherited;
} hob_listeners;

/* Takes over what systemd (LISTEN_FDS) or fd 0 hands in. */
bool hob__listeners_inherit(hob_listeners *listeners, char error[256]) HOB_MUST_CHECK;
/* The socket of worker number `worker`, opened when need be. -1: one line in error. */
int hob__listeners_of(hob_listeners *listeners, unsigned worker, char error[256]) HOB_MUST_CHECK;
void hob__listeners_keep(hob_listeners *listeners, unsigned workers); /* closes those that none of the first needs */
void hob__listeners_free(hob_listeners *listeners);
/* Before the workers drain: nobody new gets into a queue, and they accept those who are in it. Takes 100 ms, or up to a
 * second. Inherited sockets outlive us, and are left alone. */
void hob__listeners_turn_away(const hob_listeners *listeners);
/* Where the scoreboard of an earlier supervisor is: as configured, or beside the first socket file. */
void hob__listeners_scoreboard(const hob_config *config, char path[PATH_MAX]);

/* ---- supervisor_child.c: one worker process ---- */

/* starting -> ready -> draining; any of them ends when the process has been reaped. */
typedef enum hob_child_state { HOB_CHILD_STARTING, HOB_CHILD_READY, HOB_CHILD_DRAINING } hob_child_state;

typedef struct hob_child {
    pid_t pid;
    int tie; /* our end of the socket pair: its closing tells the worker that we have died; -1: it closed its own */
    unsigned number, generation;
    hob_child_state state;
    int64_t started, deadline; /* deadline: to be ready, or to be gone */
    struct hob_child *next;
} hob_child;

typedef struct hob_program {
    char path[PATH_MAX];
    const char *argv0;
    char **environment; /* what was given, less what is the supervisor's own, and room for what it adds */
    size_t given;       /* count of what was given */
    const char *scoreboard;
} hob_program;

bool hob__program_init(hob_program *program, const hob_supervision *supervision, const char *scoreboard) HOB_MUST_CHECK;
void hob__program_free(hob_program *program);
/* NULL: errno says why. */
hob_child *hob__child_start(const hob_program *program, int listening, unsigned number,
                            unsigned generation) HOB_MUST_CHECK;
char hob__child_hear(hob_child *child); /* what it says (supervised.h); 0: nothing (more) */
void hob__child_free(hob_child *child);
void hob__wait_status_describe(int status, char *out, size_t size); /* "was killed by signal 11 (Segmentation fault)" */

/* ---- supervisor_pid_file.c ---- */

/* Held, locked, as long as the supervisor lives. -1: one line in error, which names who has it. */
int hob__pid_file_take(const char *path, char error[256]) HOB_MUST_CHECK;
void hob__pid_file_link(const char *path, const char *scoreboard); /* HOB_PID_FILE_BOARD */
void hob__pid_file_release(const char *path, int fd);
pid_t hob__pid_file_read(const char *path, char error[256]) HOB_MUST_CHECK; /* 0: one line in error: it does not run */

/* ---- supervisor_workers.c: which workers there are ---- */

typedef struct hob_worker_slot {
    hob_child *child, *candidate;
    int64_t wait; /* before the next start; 0: none */
    int64_t start_at;
    unsigned quick_deaths; /* in a row */
} hob_worker_slot;

typedef struct hob_supervisor {
    hob_config config;
    char *const *given_environment;
    hob_listeners listeners;
    hob_program program;
    hob_scoreboard *board;
    int signals;
    hob_worker_slot slots[HOB_WORKERS_MOST];
    unsigned count;
    hob_child *children;
    unsigned generation, last_generation;
    unsigned roll_count; /* slots of the new generation; 0: no roll is under way */
    bool roll_again;     /* SIGHUP came while one was */
    unsigned stop_signals;
    bool told_ready;
    char status[256]; /* as systemd was told last */
    int64_t notify_interval, notify_at;
} hob_supervisor;

static inline int64_t hob__seconds(int64_t ns) {
    return ns / INT64_C(1000000000);
}

unsigned hob__supervisor_wanted(const hob_config *config); /* workers */
unsigned hob__supervisor_ready(const hob_supervisor *s);
unsigned hob__supervisor_looping(const hob_supervisor *s);      /* those whose workers die again and again */
void hob__supervisor_start(hob_supervisor *s, unsigned number); /* a worker for an empty slot */
void hob__supervisor_signal(const hob_child *child, int signal);
void hob__supervisor_drain(const hob_supervisor *s, hob_child *child); /* NULL and one that does already: nothing */
void hob__supervisor_resize(hob_supervisor *s, unsigned count);
void hob__supervisor_hear(hob_supervisor *s); /* what the workers say */
void hob__supervisor_reap(hob_supervisor *s); /* those that have ended */
/* A roll: begin; the workers of the new generation take over when all of them are ready; or it fails. */
void hob__supervisor_roll(hob_supervisor *s);
void hob__supervisor_finish_roll(hob_supervisor *s); /* if it can be */
void hob__supervisor_fail_roll(hob_supervisor *s, const char *why);

#endif
