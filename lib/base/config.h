/*
 * Configuration: one table says every setting's name, type, default, limits and help. It feeds the parser, --help,
 * --print-config, --check and the README, and a test fails when they differ.
 */
#ifndef HOB_BASE_CONFIG_H
#define HOB_BASE_CONFIG_H

#include <stdio.h>

#include "hob.h"

/* X(field, name, type, default, min, max, help). Durations are int64 nanoseconds, sizes bytes; a maximum of 0 is none.
 * The type is one of TEXT const char * (NULL: not set), SECRET the same but hidden when printed, NUMBER int64,
 * SIZE int64 ("1GiB", "1MiB", "64KiB", "512"), DURATION int64 ("20ms", "5s", "10m", "1h"), SWITCH bool ("on", "off"),
 * LEVEL hob_log_level ("error", "warn", "info", "debug"). */
#define HOB_CONFIG(X)                                                                                                  \
    X(file, "HOB_CONFIG", TEXT, NULL, 0, 0, "a file of NAME=value lines; what the environment says goes before it")    \
    X(database_url, "DATABASE_URL", SECRET, NULL, 0, 0,                                                                \
      "the database, as libpq's URI or key=value string; libpq's own PG* variables fill what it leaves out")           \
    X(db_max_open, "HOB_DB_MAX_OPEN", NUMBER, "4", 1, 1000, "connections a worker may hold open")                      \
    X(db_max_idle, "HOB_DB_MAX_IDLE", NUMBER, "4", 0, 1000, "connections a worker keeps warm when idle")               \
    X(db_conn_lifetime, "HOB_DB_CONN_LIFETIME", DURATION, "1h", 0, 0,                                                  \
      "age at which a connection is replaced, between requests, with jitter; 0s: never")                               \
    X(db_conn_idle_time, "HOB_DB_CONN_IDLE_TIME", DURATION, "10m", 0, 0,                                               \
      "idle time after which a connection is closed, with jitter; 0s: never")                                          \
    X(db_statement_timeout, "HOB_DB_STATEMENT_TIMEOUT", DURATION, "5s", 0, 86400000000000,                             \
      "PostgreSQL's statement_timeout; 0s: none")                                                                      \
    X(db_lock_timeout, "HOB_DB_LOCK_TIMEOUT", DURATION, "2s", 0, 86400000000000,                                       \
      "PostgreSQL's lock_timeout; 0s: none")                                                                           \
    X(db_prepare, "HOB_DB_PREPARE", SWITCH, "on", 0, 0, "named statements; off for poolers that lose them")            \
    X(cache, "HOB_CACHE", TEXT, NULL, 0, 0,                                                                            \
      "memcached servers: host:port or a socket path, a comma between, *weight behind; not set: no cache")             \
    X(cache_ttl, "HOB_CACHE_TTL", DURATION, "5m", 1000000000, 0, "how long an entry is kept, with jitter")             \
    X(cache_negative_ttl, "HOB_CACHE_NEGATIVE_TTL", DURATION, "5s", 0, 0,                                              \
      "how long a 404 is kept, with jitter; 0s: not at all")                                                           \
    X(cache_timeout, "HOB_CACHE_TIMEOUT", DURATION, "20ms", 1000000, 10000000000,                                      \
      "longest wait for a memcached server")                                                                           \
    X(cache_prefix, "HOB_CACHE_PREFIX", TEXT, NULL, 0, 0, "put before every key; not set: the application's name")     \
    X(request_timeout, "HOB_REQUEST_TIMEOUT", DURATION, "15s", 1000000, 0,                                             \
      "deadline of a request, from its first byte read to its answer")                                                 \
    X(drain_timeout, "HOB_DRAIN_TIMEOUT", DURATION, "30s", 0, 0,                                                       \
      "how long a stopping worker answers what still arrives")                                                         \
    X(mount, "HOB_MOUNT", TEXT, NULL, 0, 0, "path prefix under which the web server mounts the application")           \
    X(read_timeout, "HOB_READ_TIMEOUT", DURATION, "10s", 1000000, 0,                                                   \
      "from a request's first byte to the end of its body")                                                            \
    X(write_timeout, "HOB_WRITE_TIMEOUT", DURATION, "20s", 1000000, 0,                                                 \
      "longest time to hand an answer to the web server")                                                              \
    X(max_body, "HOB_MAX_BODY", SIZE, "1MiB", 0, 1073741824, "largest request body")                                   \
    X(max_in_flight, "HOB_MAX_IN_FLIGHT", NUMBER, "1024", 1, 30000, "requests a worker works on at once; beyond: 503") \
    X(max_queue_time, "HOB_MAX_QUEUE_TIME", DURATION, "1s", 0, 0,                                                      \
      "how long a request that has come may wait to be worked on; beyond: 503; 0s: as long as need be")                \
    X(watchdog, "HOB_WATCHDOG", DURATION, "5s", 0, 3600000000000,                                                      \
      "how long one task may keep the worker from all others; then it answers 504 and ends; 0s: as long as it likes")  \
    X(worker_max_requests, "HOB_WORKER_MAX_REQUESTS", NUMBER, "0", 0, 0,                                               \
      "requests after which a worker drains, up to a tenth fewer; 0: never")                                           \
    X(worker_max_age, "HOB_WORKER_MAX_AGE", DURATION, "0s", 0, 0, "likewise its age; 0s: never")                       \
    X(worker_max_rss, "HOB_WORKER_MAX_RSS", SIZE, "0", 0, 0, "likewise its memory (RSS); 0: never")                    \
    X(max_request_memory, "HOB_MAX_REQUEST_MEMORY", SIZE, "16MiB", 65536, 0, "memory one request may take")            \
    X(offload_threads, "HOB_OFFLOAD_THREADS", NUMBER, "4", 1, 64, "threads a worker may start for work that blocks")   \
    X(listen, "HOB_LISTEN", TEXT, NULL, 0, 0,                                                                          \
      "where serve listens: socket paths, host:port or [host]:port, a comma between, dealt to the workers in turn; "   \
      "with %d, the worker's number from 0, each has its own")                                                         \
    X(listen_mode, "HOB_LISTEN_MODE", TEXT, "0660", 0, 0, "mode of the socket files that serve makes")                 \
    X(listen_group, "HOB_LISTEN_GROUP", TEXT, NULL, 0, 0, "their group, the web server's; not set: serve's own")       \
    X(workers, "HOB_WORKERS", NUMBER, "0", 0, 200, "workers that serve keeps running; 0: one a core")                  \
    X(start_timeout, "HOB_START_TIMEOUT", DURATION, "30s", 100000000, 3600000000000,                                   \
      "how long a worker may take to become ready under serve")                                                        \
    X(scoreboard, "HOB_SCOREBOARD", TEXT, NULL, 0, 0,                                                                  \
      "file of shared memory that all workers of a service write to; not set: beside their socket, else in /dev/shm")  \
    X(trusted_proxies, "HOB_TRUSTED_PROXIES", TEXT, NULL, 0, 0,                                                        \
      "addresses (CIDR, a comma between; unix: peers without one) whose forwarding headers are believed")              \
    X(log, "HOB_LOG", TEXT, "stderr", 0, 0, "where the log goes: stderr or a file")                                    \
    X(log_level, "HOB_LOG_LEVEL", LEVEL, "info", 0, 0, "error, warn, info or debug")

#define HOB_CONFIG_TEXT const char *
#define HOB_CONFIG_SECRET const char *
#define HOB_CONFIG_NUMBER int64_t
#define HOB_CONFIG_SIZE int64_t
#define HOB_CONFIG_DURATION int64_t
#define HOB_CONFIG_SWITCH bool
#define HOB_CONFIG_LEVEL hob_log_level

typedef struct hob_config {
#define HOB_CONFIG_MEMBER(field, name, type, default_text, min, max, help) HOB_CONFIG_##type field;
    HOB_CONFIG(HOB_CONFIG_MEMBER)
#undef HOB_CONFIG_MEMBER
    /* No setting: the process answers one request (CGI), so database and cache are connected when it asks for them. */
    bool on_demand;
} hob_config;

/* Fills *config from environ-like strings ("NAME=value"), and from the file that HOB_CONFIG names ("NAME=value" lines,
 * the value in quotation marks or not, # comments; the environment wins). The file may also hold libpq's PG*, which go
 * to the process's environment where it lacks them. A secret NAME may lie in a file that NAME_FILE names, without its
 * line end. An empty value is the default. Unknown HOB_ names, anything else
 * in the file, bad values and unreadable files: false, with one line in error that names the source. Text points into
 * memory of the configuration, freed by hob__config_free. */
bool hob__config_load(hob_config *config, char *const *environment, char error[256]) HOB_MUST_CHECK;
void hob__config_free(hob_config *config);
void hob__config_help(FILE *out);                            /* name, default, help, a setting a line */
void hob__config_print(const hob_config *config, FILE *out); /* NAME=value lines, secrets as "********" */
void hob__config_markdown(FILE *out);                        /* the README's table */

#endif
