/*
 * A PostgreSQL server of the test's own: a fresh cluster in a temporary directory, reached through a unix socket only,
 * run by an unprivileged user when the test is root. It ends with the test process, however that ends. Without a
 * PostgreSQL the test fails.
 */
#ifndef TESTS_UNIT_DATA_POSTGRES_H
#define TESTS_UNIT_DATA_POSTGRES_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct postgres {
    char bin[256], dir[64], url[128];
    pid_t pid; /* 0: not running */
} postgres;

static postgres server;

static inline void server_die(const char *what) {
    fprintf(stderr, "private PostgreSQL: %s: %s\n", what, strerror(errno));
    exit(1);
}

static inline void server_sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* PG_BINDIR, or the newest of Debian's. */
static inline void server_find(void) {
    const char *bin = getenv("PG_BINDIR");
    glob_t found = {0};
    if (!bin && glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
        char *newest = found.gl_pathv[found.gl_pathc - 1];
        newest[strlen(newest) - strlen("/initdb")] = '\0';
        bin = newest;
    }
    if (!bin) {
        fprintf(stderr, "private PostgreSQL: none is installed (apt install postgresql, or set PG_BINDIR)\n");
        exit(1);
    }
    snprintf(server.bin, sizeof server.bin, "%s", bin);
    globfree(&found);
}

/* Runs a program of PostgreSQL's, or one that is named by its path, quietly, without privileges, and not longer than
 * this process lives. */
static inline pid_t server_spawn(const char *program, char *arguments[]) {
    char path[512];
    pid_t parent = getpid(), child = fork();
    if (child != 0)
        return child;
    struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (geteuid() == 0 && (!user || setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || chdir("/") || getppid() != parent)
        _exit(126);
    closefrom(3);
    snprintf(path, sizeof path, "%s%s%s", *program == '/' ? "" : server.bin, *program == '/' ? "" : "/", program);
    arguments[0] = path; /* they look for each other beside it */
    execv(path, arguments);
    _exit(127);
}

static inline void server_start(void) {
    server.pid = server_spawn("postgres", (char *[]){"postgres", "-D", server.dir, "-k", server.dir, "-c",
                                                     "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=30",
                                                     "-c", "shared_buffers=16MB", NULL});
    for (int i = 0; i < 600 && PQping(server.url) != PQPING_OK; i++)
        server_sleep_ms(50);
    if (PQping(server.url) != PQPING_OK)
        server_die("it does not start");
}

static inline void server_stop(void) {
    if (server.pid > 0 && kill(server.pid, SIGINT) == 0)
        while (waitpid(server.pid, NULL, 0) < 0 && errno == EINTR) {
        }
    server.pid = 0;
}

static inline int server_remove(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void server_end(void) {
    server_stop();
    nftw(server.dir, server_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void server_create(void) {
    int status;
    server_find();
    snprintf(server.dir, sizeof server.dir, "/tmp/hob_postgres_XXXXXX");
    struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (!mkdtemp(server.dir) || (user && chown(server.dir, user->pw_uid, user->pw_gid)))
        server_die(server.dir);
    atexit(server_end);
    snprintf(server.url, sizeof server.url, "host=%s user=hob dbname=postgres", server.dir);
    pid_t initdb = server_spawn("initdb", (char *[]){"initdb", "-D", server.dir, "-U", "hob", "-A", "trust", "-E",
                                                     "UTF8", "--locale=C", "--no-sync", NULL});
    if (initdb < 0 || waitpid(initdb, &status, 0) < 0 || status != 0)
        server_die("initdb failed");
    server_start();
}

/* Runs SQL beside the code under test, and gives the first value, valid until the next call. */
static inline const char *server_sql(const char *sql) {
    static char value[256];
    PGconn *pg = PQconnectdb(server.url);
    PGresult *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(pg));
        exit(1);
    }
    snprintf(value, sizeof value, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(pg);
    return value;
}

#endif
