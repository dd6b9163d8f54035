/* Many processes: holds the listening sockets, keeps workers running, and changes them for new ones. */
#ifndef HOB_SUPERVISOR_H
#define HOB_SUPERVISOR_H

#include "base/config.h"

typedef struct hob_supervision {
    const char *application;
    const char *argv0;
    const hob_config *config;
    char *const *environment; /* as the process was given it, for the workers: what a file says is for them to read */
    const char *pid_file;     /* NULL: none */
} hob_supervision;

/* Until it is told to stop. The exit status: 0 when every worker has drained; 1 when it could not start (one line in
 * error) or workers had to be killed. */
int hob__supervisor_run(const hob_supervision *supervision, char error[256]);

/* What the command line may ask of a running supervisor; each says on stdout or stderr how it went. The exit status. */
int hob__supervisor_reload(const char *application, const char *pid_file);
/* Waits for its end as long as that takes: the supervisor bounds it (HOB_DRAIN_TIMEOUT). */
int hob__supervisor_stop(const char *application, const char *pid_file);
/* The scoreboard as a table or JSON: of a supervisor, or of the workers of this configuration, whoever started them. 1
 * when it cannot be read, or when no worker is ready. */
int hob__supervisor_status_of(const char *application, const char *pid_file, bool json);
int hob__supervisor_status(const char *application, const hob_config *config, bool json);

#endif
