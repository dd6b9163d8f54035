/*
 * The cache's inside.
 *
 * Each server has two service tasks, each alone with its link: cache_lookup.c asks, cache_writer.c fills, gives up,
 * sets tombstones and deletes. A link is one libmemcached handle to one server and has its own breaker, so a failure is
 * that server's alone. Which key is whose, a ring (weighted ketama) of the names as configured says, so it stays when
 * an address moves. One more task resolves names, when there are any.
 *
 * What stands under a key: nothing, a value (or that there is none), a placeholder (somebody loads), a tombstone
 * (somebody writes), or something foreign; under "g:" and an entity's key, its generation or a tombstone. The keys are
 * of no use to a web server's memcached module: every value begins with the envelope.
 */
#ifndef HOB_DATA_CACHE_PRIVATE_H
#define HOB_DATA_CACHE_PRIVATE_H

#include <libmemcached/memcached.h>
#include <sys/queue.h>

#include "data/cache.h"
#include "run/port.h"

#define HOB_CACHE_PREFIX_MAX 40
#define HOB_CACHE_OWN_KEY_MAX 200
#define HOB_CACHE_KEY_MAX (HOB_CACHE_PREFIX_MAX + 3 + HOB_CACHE_OWN_KEY_MAX) /* prefix ':' ["g:"] key */
_Static_assert(HOB_CACHE_KEY_MAX < MEMCACHED_MAX_KEY, "memcached's limit is 250 bytes");

/* ---- cache_value.c: the envelope ---- */

typedef enum hob_cache_kind {
    HOB_CACHE_VALUE = 1,
    HOB_CACHE_ABSENCE, /* a value too: that there is none */
    HOB_CACHE_PLACEHOLDER,
    HOB_CACHE_TOMBSTONE,
    HOB_CACHE_GENERATION
} hob_cache_kind;

#define HOB_CACHE_IDS_MAX 32
_Static_assert(HOB_CACHE_ENTITIES_MAX <= HOB_CACHE_IDS_MAX, "a value's");

typedef struct hob_cache_entry {
    hob_cache_kind kind;
    uint64_t id; /* random; of the lease, for placeholders and what fills them */
    /* The generations a value was loaded under; the writers a tombstone stands for (none: nobody knows, and only time
     * removes it). */
    size_t id_count;
    uint64_t ids[HOB_CACHE_IDS_MAX];
    hob_text payload;
} hob_cache_entry;

#define HOB_CACHE_HEADER 32
#define HOB_CACHE_PAYLOAD_MAX (8 * 1024 * 1024) /* above the usual servers' item size; within the queue's */

uint64_t hob__cache_new_id(void); /* random, never 0 */
uint64_t hob__cache_new_generation(void);
/* Whether the writer must have ended, if none takes longer (s), or its clock is far from ours. */
bool hob__cache_write_over(uint64_t id, int64_t longest);
size_t hob__cache_value_size(const hob_cache_entry *entry, hob_text key);
void hob__cache_value_write(char *to, const hob_cache_entry *entry, hob_text key); /* hob__cache_value_size bytes */
/* false: foreign: not ours, damaged, or of another key. The payload points into stored. */
bool hob__cache_value_read(hob_text stored, hob_text key, hob_cache_entry *entry) HOB_MUST_CHECK;

/* ---- cache_breaker.c ---- */

#define HOB_CACHE_FAILURES 3 /* in a row, and it opens */
#define HOB_CACHE_PAUSE HOB_S
#define HOB_CACHE_LONGEST_PAUSE (8 * HOB_S)

/* Closed -> open (after HOB_CACHE_FAILURES) -> probed when due, by the service itself, never by a request -> closed, or
 * open for twice as long. All zero: closed. */
typedef struct hob_cache_breaker {
    unsigned failures; /* in a row, while closed */
    int64_t pause;     /* how long it opened for last; 0 while closed */
    int64_t probe_at;  /* while open */
} hob_cache_breaker;

bool hob__cache_breaker_open(const hob_cache_breaker *breaker);
bool hob__cache_breaker_due(const hob_cache_breaker *breaker, int64_t now); /* open, and time for a probe */
bool hob__cache_breaker_failed(hob_cache_breaker *breaker, int64_t now); /* true: it opened, or stays open for longer */
bool hob__cache_breaker_succeeded(hob_cache_breaker *breaker);           /* true: it was open */

/* ---- Services: one task of the cache's own each ---- */

typedef struct hob_cache_server hob_cache_server;

typedef struct hob_cache_service {
    hob_task task; /* first: the service's task is its address */
    hob_port port;
    hob_cache *cache;
    hob_cache_server *server; /* NULL: the resolver */
    bool idle; /* parked for want of work. Woken only then: a wake must not end the poll of an exchange */
} hob_cache_service;

void hob__cache_wake(hob_cache_service *service);
void hob__cache_idle(hob_cache_service *service, int64_t until);
void hob__cache_service_ended(hob_cache_service *service); /* the last thing a service does */

/* ---- cache_lookup.c ---- */

#ifndef HOB_CACHE_BATCH /* a build for measuring what it brings may say 1 */
#define HOB_CACHE_BATCH 128
#endif
#define HOB_CACHE_BATCH_BYTES                                                                                          \
    8000 /* a multi-get fits libmemcached's buffer (8196): it leaves with one send, so it times out once */
#define HOB_CACHE_LEASE_S 5

typedef enum hob_cache_found {
    HOB_CACHE_FOUND_VALUE, /* a generation too */
    HOB_CACHE_FOUND_ABSENCE,
    HOB_CACHE_FOUND_LEASE,  /* claimed, and won */
    HOB_CACHE_FOUND_OTHERS, /* somebody else's placeholder */
    HOB_CACHE_FOUND_NONE,   /* a tombstone, something foreign, a claim that could not be kept */
    HOB_CACHE_FOUND_FAILURE
} hob_cache_found;

/* A waiting look-up, on its task's stack. Container: its server's pending -> a slot's waiters -> (pending again, after
 * a miss) -> none. */
typedef struct hob_cache_lookup {
    hob_task *task;
    hob_cache_server *server;
    hob_text key;    /* with its prefix */
    bool generation; /* of an entity: made when it is missing */
    int64_t until;   /* the waiter's patience */
    uint64_t claim;  /* the id it tries to place; 0: it only looks */
    bool done;
    hob_cache_found found;
    uint64_t id;    /* of what was found */
    hob_text value; /* FOUND_VALUE, FOUND_ABSENCE: in the task's arena; no data when that is full */
    size_t generation_count;
    uint64_t generations[HOB_CACHE_ENTITIES_MAX]; /* that the value was loaded under */
    struct hob_cache_lookups *in;
    TAILQ_ENTRY(hob_cache_lookup) entry;
} hob_cache_lookup;
typedef TAILQ_HEAD(hob_cache_lookups, hob_cache_lookup) hob_cache_lookups;

/* One key of a batch, with all who asked for it. Their own copies of the key may go while it is under way. */
typedef struct hob_cache_slot {
    uint32_t hash;
    uint16_t size;
    bool generation, answered;
    char key[HOB_CACHE_KEY_MAX];
    uint64_t claim;
    hob_cache_lookups waiters;
} hob_cache_slot;

void hob__cache_lookup_service(hob_task *task);
void hob__cache_lookup_add(hob_cache_lookup *lookup);
void hob__cache_lookup_leave(hob_cache_lookup *lookup);

/* ---- cache_servers.c: the list, the ring, names ---- */

#define HOB_CACHE_SERVERS_MAX 32
#define HOB_CACHE_WEIGHT_MAX 40 /* above, the ring could leave a server of weight 1 without a single point */

typedef struct hob_cache_job hob_cache_job;
typedef STAILQ_HEAD(hob_cache_jobs, hob_cache_job) hob_cache_jobs;

typedef struct hob_cache_link {
    memcached_st *handle; /* NULL until the server has an address */
    memcached_result_st result;
    unsigned generation; /* of the address the handle was made for */
    bool answered;       /* the last that is known */
    hob_cache_breaker breaker;
} hob_cache_link;

typedef enum hob_cache_link_use { HOB_CACHE_LOOKUPS, HOB_CACHE_WRITES, HOB_CACHE_LINKS } hob_cache_link_use;

struct hob_cache_server {
    char host[256]; /* as configured, without brackets; a socket's path begins with '/' */
    uint16_t port;
    uint32_t weight;
    char address[108]; /* numeric, or the path; counted by generation, which is 0 while there is none */
    unsigned generation;

    /* A name stands for one server, which may move and have several addresses. They are tried in turn until one
     * answers; that one stays until the name loses it or the breaker's pause has become its longest. */
    bool named;
    bool resolve_wanted; /* by the resolver */
    bool resolve_failed; /* said so in the log */
    hob_addresses addresses;
    size_t address_at;
    bool settled; /* the address has answered */
    bool tried;   /* all addresses, in vain: the breaker's pause holds for the next one too */

    hob_cache_service services[HOB_CACHE_LINKS];
    hob_cache_link links[HOB_CACHE_LINKS];

    hob_cache_lookups pending;
    hob_cache_slot slots[HOB_CACHE_BATCH];
    size_t slot_count;

    hob_cache_jobs urgent, fills;
    /* Invalidations that failed, to be tried again. While any worker owes one, what the server holds may be stale, and
     * nobody reads from it. */
    hob_cache_jobs owed;
    size_t owed_count;
    int64_t owed_retry_at, owed_pause;
    hob_cache_debts *debts; /* what the workers tell each other */
    size_t debt_count;      /* this worker's: the jobs that are owed, and those whose writer could not wait for them */
    bool suspect;           /* perhaps there is something to flush */
    int64_t suspected_at;   /* last */
};

/* false: one line in error. *list is the caller's, also when it is false. */
bool hob__cache_servers_parse(const char *text, hob_cache_server **list, size_t *count, char error[256]) HOB_MUST_CHECK;
/* The ring of two servers or more; NULL when memory ran out. */
memcached_st *hob__cache_ring_new(const hob_cache_server *list, size_t count) HOB_MUST_CHECK;
hob_cache_server *hob__cache_server_of(const hob_cache *cache, hob_text key);
void hob__cache_resolver(hob_task *task);
/* A link to the address its server is at now has failed. */
void hob__cache_address_failed(hob_cache *cache, hob_cache_server *server, const hob_cache_link *link);

/* ---- cache_link.c: one handle to one server ---- */

void hob__cache_link_close(hob_cache_link *link);
bool hob__cache_link_usable(const hob_cache_link *link);
/* Opens the link when it has got an address and probes it when that is due; when the next probe is due, or
 * HOB_FOREVER. */
int64_t hob__cache_tend(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use);
/* After an exchange that ended with rc: true when the connection was lost, which costs one call after a server's
 * restart, and the exchange should be tried once more; the handle is ready for it. */
bool hob__cache_link_lost(hob_cache_link *link, memcached_return_t rc);
/* Books the exchange's end. */
void hob__cache_link_settle(hob_cache *cache, hob_cache_server *server, hob_cache_link_use use, memcached_return_t rc);
bool hob__cache_answered(memcached_return_t rc); /* the server answered in good order, whatever it said */
/* After the last result: memcached_fetch_result calls some broken connections NOTFOUND. SUCCESS when the answer came
 * whole. */
memcached_return_t hob__cache_fetch_end(hob_cache_link *link, memcached_return_t rc);

/* ---- cache_writer.c: what is to be written, and what is owed ---- */

#define HOB_CACHE_QUEUE_JOBS 1024 /* fills and the like, over all servers; deletes are never refused */
#define HOB_CACHE_QUEUE_BYTES (16 * 1024 * 1024)
#define HOB_CACHE_TTL_MAX_S (30 * 24 * 60 * 60) /* beyond, memcached takes the number for a date */
#define HOB_CACHE_OWED_MAX 10000                /* a server; beyond, it is flushed */

typedef enum hob_cache_job_kind {
    HOB_CACHE_JOB_FILL,
    HOB_CACHE_JOB_GIVE_UP,
    HOB_CACHE_JOB_CLEAR,     /* of something foreign */
    HOB_CACHE_JOB_TAKE_OVER, /* a value that is out of date becomes a placeholder */
    HOB_CACHE_JOB_TOMBSTONE,
    HOB_CACHE_JOB_DELETE
} hob_cache_job_kind;

/* The task that waits for a job. Each clears the other's pointer when it goes first. */
typedef struct hob_cache_job_waiter {
    hob_task *task;
    hob_cache_job *job; /* NULL: it has ended */
    bool succeeded;
} hob_cache_job_waiter;

/* Container: its server's urgent or fills -> (a batch) -> freed, or its owed -> (a batch of its own) -> freed. */
struct hob_cache_job {
    STAILQ_ENTRY(hob_cache_job) entry;
    hob_cache_job_kind kind;
    bool entered; /* in the server's debt_count */
    hob_cache_server *server;
    hob_cache_job_waiter *waiter;
    uint64_t id; /* of the lease, the value to be taken over, or the writer */
    time_t ttl;  /* s */
    bool done;   /* the server has had its say: */
    memcached_return_t rc;
    size_t key_size, size;
    char envelope[]; /* size bytes, the key among them; of tombstones and deletes only the key counts */
};

static inline hob_text hob__cache_job_key(const hob_cache_job *job) {
    return (hob_text){job->envelope + HOB_CACHE_HEADER, job->key_size};
}

static inline bool hob__cache_invalidates(hob_cache_job_kind kind) {
    return kind == HOB_CACHE_JOB_TOMBSTONE || kind == HOB_CACHE_JOB_DELETE;
}

void hob__cache_writer_service(hob_task *task);
void hob__cache_drop_jobs(hob_cache *cache, hob_cache_server *server);
/* Copies key and entry. false: dropped (counted and logged), and the waiter has nothing to wait for. */
bool hob__cache_write(hob_cache *cache, hob_cache_job_kind kind, hob_text key, uint64_t id,
                      const hob_cache_entry *entry, int64_t ttl, hob_cache_job_waiter *waiter);
/* Waits until the job has ended: whether it succeeded. One that invalidates is owed when the task cannot wait for it.
 */
bool hob__cache_await(hob_cache *cache, hob_cache_job_waiter *waiter);
/* Readers keep off the server: its writer should look whether there is something to flush. */
void hob__cache_suspect(hob_cache *cache, hob_cache_server *server);

/* ---- cache_store.c: jobs, done at the server ---- */

#define HOB_CACHE_WRITE_BATCH 32
/* Does those that are not done, no two of them of the same key. Not answered: why the rest could not be done. */
memcached_return_t hob__cache_perform(hob_cache *cache, hob_cache_link *link, hob_cache_job *const *jobs, size_t count);

/* ---- cache.c, cache_get.c ---- */

#define HOB_CACHE_WAITED_OUT 64

struct hob_cache {
    hob_loop *loop;
    hob_offload_pool *offload;
    hob_text prefix; /* with its ':' */
    char prefix_bytes[HOB_CACHE_PREFIX_MAX + 2];
    int64_t timeout;
    time_t tombstone_ttl; /* s; outlives any request */
    hob_cache_counters counters;

    hob_cache_server *servers;
    size_t server_count;
    memcached_st *ring; /* NULL: one server */

    hob_cache_shared *shared, own; /* shared: own when there are no other workers */
    size_t slot;                   /* this worker's */

    bool on_demand;
    int64_t began; /* when the services were started; 0: not yet, which only on demand can be */
    hob_cache_service resolver;
    size_t running;  /* services */
    int64_t stop_by; /* HOB_FOREVER until it is being freed */
    bool orphaned;   /* whose freer could not wait: the last service to end frees it */
    hob_task *freer;

    size_t fill_count, fill_bytes; /* over all servers */
    bool fills_dropped;            /* said so in the log */
    /* Placeholders, by id, for which this worker has waited long enough: their holders are slow or dead. */
    uint64_t waited_out[HOB_CACHE_WAITED_OUT];
};

bool hob__cache_stopping(const hob_cache *cache);
/* Before anything is asked or written. false: no memory. */
bool hob__cache_begin(hob_cache *cache, hob_task *task);
bool hob__cache_readable(const hob_cache *cache, const hob_cache_server *server); /* may be looked up at */
typedef enum hob_cache_space { HOB_CACHE_KEYS, HOB_CACHE_GENERATIONS } hob_cache_space;
/* With the prefix, in buffer; the key must be good. */
hob_text hob__cache_whole_key(const hob_cache *cache, hob_cache_space space, hob_text key,
                              char buffer[HOB_CACHE_KEY_MAX]);

#endif
