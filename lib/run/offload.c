#include "run/offload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

/* On the stack of the task that waits. State and container: queued (pool->queued) -> running (a thread) -> finished
 * (pool->finished)
 * -> done (none). */
typedef struct job {
    struct job *next;
    hob_task *task;
    void (*fn)(void *arg);
    void *arg;
    bool done; /* the loop's thread only */
} job;

struct hob_offload_pool {
    hob_loop *loop;
    hob_watch finished_watch; /* an eventfd, written when pool->finished becomes something */
    size_t max_threads;
    size_t threads; /* the loop's thread only */

    pthread_mutex_t mutex; /* over all that follows */
    pthread_cond_t work;
    job *queued, **last_queued;
    size_t queue_length;
    size_t idle; /* threads that wait for work */
    job *finished;
    bool stopping;

    pthread_t thread[];
};

static void finish_jobs(hob_offload_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    job *finished = pool->finished;
    pool->finished = NULL;
    pthread_mutex_unlock(&pool->mutex);
    while (finished) {
        job *j = finished;
        finished = j->next;
        j->done = true;
        hob__task_wake(j->task);
    }
}

static void on_finished(hob_watch *watch, uint32_t events) {
    (void)events;
    uint64_t count;
    if (read(watch->fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        finish_jobs(hob__container_of(watch, hob_offload_pool, finished_watch));
}

static void free_pool(hob_offload_pool *pool) {
    if (pool->finished_watch.fd >= 0)
        close(pool->finished_watch.fd);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

hob_offload_pool *hob__offload_new(hob_loop *loop, size_t max_threads) {
    hob_offload_pool *pool = calloc(1, sizeof(*pool) + max_threads * sizeof(pool->thread[0]));
    if (!pool)
        return NULL;
    pool->loop = loop;
    pool->max_threads = max_threads;
    pool->last_queued = &pool->queued;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->finished_watch = (hob_watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .on_event = on_finished};
    if (pool->finished_watch.fd < 0 || !hob__loop_watch(loop, &pool->finished_watch, EPOLLIN)) {
        hob__log(HOB_LOG_ERROR, "offload: no eventfd: %s", strerror(errno));
        free_pool(pool);
        return NULL;
    }
    return pool;
}

/* With the mutex held, here and when it returns. NULL: no more. */
static job *next_job(hob_offload_pool *pool) {
    while (!pool->queued && !pool->stopping) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->mutex);
        pool->idle--;
    }
    job *j = pool->queued;
    if (j) {
        pool->queued = j->next;
        pool->last_queued = pool->queued ? pool->last_queued : &pool->queued;
        pool->queue_length--;
    }
    return j;
}

static void report(hob_offload_pool *pool, job *j) {
    bool first = !pool->finished;
    j->next = pool->finished;
    pool->finished = j;
    if (first) {
        ssize_t written = write(pool->finished_watch.fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* the counter is read to zero each time: it cannot be full */
    }
}

static void *run_thread(void *arg) {
    hob_offload_pool *pool = arg;
    pthread_mutex_lock(&pool->mutex);
    for (job *j; (j = next_job(pool));) {
        pthread_mutex_unlock(&pool->mutex);
        j->fn(j->arg);
        pthread_mutex_lock(&pool->mutex);
        report(pool, j);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Signals are the loop's: a thread that took one would run its handler beside it. Faults are the thread's own, and
 * while they are blocked no handler would be called. */
static void start_thread(hob_offload_pool *pool) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&pool->thread[pool->threads], NULL, run_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        hob__log(HOB_LOG_ERROR, "offload: no thread: %s", strerror(error));
    else
        pool->threads++;
}

static bool has_room(hob_offload_pool *pool, bool *needs_thread) {
    pthread_mutex_lock(&pool->mutex);
    bool room = pool->queue_length < HOB_OFFLOAD_QUEUE;
    *needs_thread = pool->queue_length >= pool->idle && pool->threads < pool->max_threads;
    pthread_mutex_unlock(&pool->mutex);
    return room;
}

static void enqueue(hob_offload_pool *pool, job *j) {
    pthread_mutex_lock(&pool->mutex);
    *pool->last_queued = j;
    pool->last_queued = &j->next;
    pool->queue_length++;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

bool hob__offload(hob_offload_pool *pool, hob_task *task, void (*fn)(void *arg), void *arg) {
    bool needs_thread;
    if (!has_room(pool, &needs_thread)) {
        hob__log(HOB_LOG_WARN, "offload: %d jobs wait already", HOB_OFFLOAD_QUEUE);
        return false;
    }
    if (needs_thread)
        start_thread(pool);
    if (pool->threads == 0)
        return false;
    job j = {.task = task, .fn = fn, .arg = arg};
    enqueue(pool, &j);
    while (!j.done)
        hob__task_park_surely(task);
    return true;
}

void hob__offload_free(hob_offload_pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    finish_jobs(pool);
    hob__loop_unwatch(pool->loop, &pool->finished_watch);
    free_pool(pool);
}

typedef struct resolution {
    const char *host;
    hob_addresses *addresses;
    int error; /* of getaddrinfo */
} resolution;

/* What nobody answers is asked again after 1 and 3 s and given up after 7, where libc waits 5 and 10: what a name
 * server keeps silent about, as Docker's does about a container that is down, it may tell a moment later. resolv.conf
 * is read anew, as libc would if we had not changed what it says; its own timeout and attempts are kept. */
static void be_impatient(void) {
    if (res_init() != 0)
        return;
    if (_res.retrans == RES_TIMEOUT)
        _res.retrans = 1;
    if (_res.retry == RES_DFLRETRY)
        _res.retry = 3;
}

static void resolve(void *arg) {
    resolution *r = arg;
    hob_addresses *list = r->addresses;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    be_impatient();
    r->error = getaddrinfo(r->host, NULL, &hints, &found);
    for (struct addrinfo *at = found; r->error == 0 && at && list->count < HOB_ADDRESSES_MAX; at = at->ai_next) {
        char *text = list->text[list->count];
        r->error = getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof list->text[0], NULL, 0, NI_NUMERICHOST);
        list->count += r->error == 0;
    }
    if (found)
        freeaddrinfo(found);
}

bool hob__resolve_all(hob_offload_pool *pool, hob_task *task, const char *host, hob_addresses *addresses,
                      const char **why) {
    unsigned char binary[sizeof(struct in6_addr)];
    *addresses = (hob_addresses){0};
    if (inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1) {
        memcpy(addresses->text[addresses->count++], host, strlen(host) + 1); /* at most INET6_ADDRSTRLEN, 46 */
        return true;
    }
    resolution r = {.host = host, .addresses = addresses};
    if (!hob__offload(pool, task, resolve, &r)) {
        *why = "no thread free to resolve names";
        return false;
    }
    *why = r.error ? gai_strerror(r.error) : NULL;
    return r.error == 0;
}

bool hob__resolve(hob_offload_pool *pool, hob_task *task, const char *host, char address[64], const char **why) {
    hob_addresses all;
    if (!hob__resolve_all(pool, task, host, &all, why))
        return false;
    memcpy(address, all.text[0], sizeof all.text[0]);
    return true;
}
