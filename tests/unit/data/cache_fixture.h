/* A memcached of the test's own on a private socket, and workers (a cache each) on one loop. */
#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "data/cache_private.h"

#define TIMEOUT (50 * HOB_MS) /* HOB_CACHE_TIMEOUT */
#define TTL (60 * HOB_S)
#define PATIENCE (20 * HOB_S) /* after which the test is stuck */

typedef struct server {
    pid_t pid;
    bool frozen;
    char path[64]; /* of its socket */
} server;

static char directory[] = "/tmp/hob-cache-XXXXXX";
static server servers[2];
static hob_loop *loop;
static hob_offload_pool *offload;
static hob_cache *cache; /* of the worker that most tests are about */

static inline bool answers(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    bool good = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return good;
}

/* It dies with the test, however that ends. */
static inline void server_run(server *s, const char *a, const char *b, const char *c, const char *d) {
    pid_t test = getpid();
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid > 0)
        return;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == test)
        execlp("memcached", "memcached", a, b, c, d, "-m", "64", "-t", "1", "-u", "nobody", (char *)NULL);
    perror("memcached");
    _exit(127);
}

static inline void server_start(server *s) {
    unlink(s->path);
    server_run(s, "-s", s->path, "-a", "0777");
    for (int i = 0; i < 500 && !answers(s->path); i++) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            fail_msg("memcached does not start");
        usleep(10000);
    }
    assert_true(answers(s->path));
}

static inline void server_kill(server *s) {
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
    s->frozen = false;
}

static inline void server_freeze(server *s) {
    int status;
    if (s->frozen)
        return;
    kill(s->pid, SIGSTOP);
    assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid);
    s->frozen = true;
}

static inline void server_thaw(server *s) {
    kill(s->pid, SIGCONT);
    s->frozen = false;
}

/* The worker in `slot` of a service. */
static inline hob_cache *worker_on(const char *list, hob_cache_shared *shared, size_t slot) {
    hob_config config = {.cache = list, .cache_timeout = TIMEOUT, .cache_ttl = TTL, .request_timeout = 15 * HOB_S};
    char error[256] = "";
    hob_cache *made = hob__cache_new(loop, offload, &config, "test", shared, slot, error);
    if (!made)
        fail_msg("%s", error);
    return made;
}

static inline hob_cache *cache_on(const char *list) {
    return worker_on(list, NULL, 0);
}

/* ---- Tasks: each runs one function; a test's steps follow each other in one of them ---- */

typedef struct actor {
    hob_task task;
    void (*fn)(struct actor *actor);
    bool ended;
    /* what the common steps work on, and what came of them */
    hob_cache *cache;
    char key[HOB_CACHE_OWN_KEY_MAX + 1];
    hob_text entities[HOB_CACHE_ENTITIES_MAX];
    size_t count;
    uint64_t id; /* of a write */
    hob_cache_result result;
    hob_text value;
    hob_cache_lease lease;
    int64_t took;
} actor;

static inline void act(hob_task *task) {
    actor *a = (actor *)task;
    a->fn(a);
    a->ended = true;
}

static inline void start(actor *a, void (*fn)(actor *), hob_cache *of, const char *key) {
    *a = (actor){.task = {.loop = loop, .deadline = HOB_FOREVER}, .fn = fn, .cache = of};
    a->task.arena = hob__arena_new(64 * 1024 * 1024);
    assert_non_null(a->task.arena);
    snprintf(a->key, sizeof a->key, "%s", key);
    assert_true(hob__task_start(&a->task, act));
}

static inline void turn_until(const bool *condition) {
    int64_t end = hob__clock_ns() + PATIENCE;
    while (!*condition) {
        hob__loop_turn(loop, 10 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

static inline void turn_for(int64_t ns) {
    int64_t end = hob__clock_ns() + ns;
    while (hob__clock_ns() < end)
        hob__loop_turn(loop, HOB_MS);
}

static inline void finish(actor *a) {
    turn_until(&a->ended);
    hob__arena_free(a->task.arena);
}

static inline void do_get(actor *a) {
    int64_t began = hob__clock_ns();
    a->result = hob__cache_get(a->cache, &a->task, hob_text_of(a->key), a->entities, a->count, &a->value, &a->lease);
    a->took = hob__clock_ns() - began;
}

static inline void do_tombstone(actor *a) {
    bool stands = hob__cache_tombstone(a->cache, &a->task, hob_text_of(a->key), a->id);
    a->result = stands ? HOB_CACHE_HIT : HOB_CACHE_LOAD;
}

static inline void do_delete(actor *a) {
    hob__cache_delete(a->cache, &a->task, hob_text_of(a->key), a->id);
}

#define WRITER 77 /* the id of whoever writes alone */

static inline uint64_t written_at(uint64_t id, int64_t ago) {
    return (uint64_t)(hob__clock_wall_us() / 1000000 - ago) << 32 | id;
}

/* A small number is the writer that began when the test did. */
static inline uint64_t write_id(uint64_t id) {
    static uint64_t began;
    if (!began)
        began = written_at(0, 0);
    return id > UINT32_MAX ? id : began | id;
}

/* The whole of one look-up. value is NULL when there is none to compare. */
static inline hob_cache_result get_by(hob_cache *of, const char *key, hob_cache_lease *lease, const char *value) {
    actor a;
    start(&a, do_get, of, key);
    turn_until(&a.ended);
    if (value) {
        assert_int_equal(a.result, HOB_CACHE_HIT);
        assert_int_equal(a.value.size, strlen(value));
        assert_memory_equal(a.value.data, value, a.value.size);
    }
    assert_int_equal(a.lease.id != 0, a.result == HOB_CACHE_FILL);
    if (lease)
        *lease = a.lease;
    else
        hob__cache_give_up(of, hob_text_of(key), a.lease);
    finish(&a);
    return a.result;
}

static inline bool tombstone_as(hob_cache *of, const char *key, uint64_t id) {
    actor a;
    start(&a, do_tombstone, of, key);
    a.id = write_id(id);
    finish(&a);
    return a.result == HOB_CACHE_HIT;
}

static inline bool tombstone_by(hob_cache *of, const char *key) {
    return tombstone_as(of, key, WRITER);
}

static inline void delete_as(hob_cache *of, const char *key, uint64_t id) {
    actor a;
    start(&a, do_delete, of, key);
    a.id = write_id(id);
    finish(&a);
}

static inline void delete_by(hob_cache *of, const char *key) {
    delete_as(of, key, WRITER);
}

/* Turns until the counter has got to n. */
static inline void await_count(const uint64_t *counter, uint64_t n) {
    int64_t end = hob__clock_ns() + PATIENCE;
    while (*counter < n) {
        hob__loop_turn(loop, 10 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

static inline bool writes(const hob_cache *of) {
    for (size_t i = 0; i < of->server_count; i++)
        if (!of->servers[i].links[HOB_CACHE_WRITES].answered)
            return false;
    return true;
}

/* Up: for writes too. */
static inline void await_up(hob_cache *of, bool up) {
    int64_t end = hob__clock_ns() + PATIENCE;
    while (hob__cache_up(of) != up || (up && !writes(of))) {
        hob__loop_turn(loop, 10 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

static inline void fill_by(hob_cache *of, const char *key, hob_cache_lease lease, const char *value) {
    uint64_t settled = of->counters.fills + of->counters.voided;
    hob__cache_fill(of, hob_text_of(key), lease, hob_text_of(value), TTL);
    int64_t end = hob__clock_ns() + PATIENCE;
    while (of->counters.fills + of->counters.voided == settled) {
        hob__loop_turn(loop, 10 * HOB_MS);
        assert_true(hob__clock_ns() < end);
    }
}

/* "list", which depends on the entities "x" and "y". */
static inline hob_cache_result get_list(hob_cache *of, hob_cache_lease *lease, const char *value) {
    actor a;
    start(&a, do_get, of, "list");
    a.entities[0] = HOB_TEXT("x");
    a.entities[1] = HOB_TEXT("y");
    a.count = 2;
    turn_until(&a.ended);
    if (value) {
        assert_int_equal(a.result, HOB_CACHE_HIT);
        assert_true(hob_text_equal(a.value, hob_text_of(value)));
    }
    *lease = a.lease;
    finish(&a);
    return a.result;
}

static inline void keep_list(const char *value) {
    hob_cache_lease lease;
    assert_int_equal(get_list(cache, &lease, NULL), HOB_CACHE_FILL);
    fill_by(cache, "list", lease, value);
    get_list(cache, &lease, value);
}

/* ---- Around the cache's back ---- */

static inline memcached_st *raw_client(const server *s) {
    memcached_st *raw = memcached_create(NULL);
    assert_non_null(raw);
    assert_int_equal(memcached_server_add_unix_socket(raw, s->path), MEMCACHED_SUCCESS);
    return raw;
}

static inline void raw_set(const char *key, const char *bytes, size_t size) {
    memcached_st *raw = raw_client(&servers[0]);
    assert_int_equal(memcached_set(raw, key, strlen(key), bytes, size, 0, 0), MEMCACHED_SUCCESS);
    memcached_free(raw);
}

/* ---- Set-up ---- */

static inline int setup_group(void **state) {
    (void)state;
    const char *log = getenv("TEST_LOG");
    if (!hob__log_open(log ? log : "/dev/null", HOB_LOG_DEBUG) || !mkdtemp(directory) || chmod(directory, 0711) != 0 ||
        (getuid() == 0 && getpwnam("nobody") && chown(directory, getpwnam("nobody")->pw_uid, (gid_t)-1) != 0))
        return -1;
    for (int i = 0; i < 2; i++)
        snprintf(servers[i].path, sizeof servers[i].path, "%s/%d", directory, i);
    return 0;
}

static inline int teardown_group(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        server_kill(&servers[i]);
        unlink(servers[i].path);
    }
    hob__fiber_pool_free();
    return rmdir(directory);
}

static inline int setup_loop(void **state) {
    (void)state;
    loop = hob__loop_new();
    offload = loop ? hob__offload_new(loop, 2) : NULL;
    return offload ? 0 : -1;
}

/* A fresh server and a worker that knows it; the second server is for the test to start. */
static inline int setup(void **state) {
    if (setup_loop(state) != 0)
        return -1;
    server_kill(&servers[0]);
    server_start(&servers[0]);
    cache = cache_on(servers[0].path);
    await_up(cache, true);
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        if (servers[i].frozen)
            server_thaw(&servers[i]);
    if (cache)
        hob__cache_free(cache);
    cache = NULL;
    server_kill(&servers[1]);
    hob__offload_free(offload);
    hob__loop_free(loop);
    return 0;
}

#endif
