/*
 * The scoreboard: shared memory of all workers of one service, in a file. A worker claims a slot and keeps it up to
 * date; whoever speaks for the service (status, metrics) reads them all. All fields are atomics without an order
 * between them: a reader may see a moment's mixture, never a torn number.
 *
 * A slot is free when nobody owns it or its owner is dead, so one that crashed leaves nothing to clean up. Processes
 * are told apart by pid and start time, so they must live in one pid namespace.
 */
#ifndef HOB_OBSERVE_SCOREBOARD_H
#define HOB_OBSERVE_SCOREBOARD_H

#include <limits.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "data/cache_shared.h"
#include "hob.h"
#include "run/owner.h"

#define HOB_SCOREBOARD_SLOTS 512
#define HOB_SCOREBOARD_NAME 64

typedef enum hob_worker_state {
    HOB_WORKER_GONE, /* zero: the slot is free */
    HOB_WORKER_STARTING,
    HOB_WORKER_READY,
    HOB_WORKER_DRAINING
} hob_worker_state;

/* Counters go on from owner to owner and never back, so that their sums are the service's; what an owner has counted
 * itself is the difference to what they were when it claimed the slot (base). Only its owner writes to a slot. */
typedef struct hob_counters {
    _Atomic uint64_t requests; /* answered */
    _Atomic uint64_t failed;   /* of these with 5xx */
} hob_counters;

typedef struct hob_slot {
    _Alignas(128) _Atomic hob_owner owner;
    _Atomic uint32_t state;      /* hob_worker_state */
    _Atomic uint32_t generation; /* of the supervisor; 0: none */
    _Atomic int64_t started_us;  /* wall time */
    _Atomic int64_t seen_us;     /* wall time of the last hob__slot_sample */
    hob_counters counters, base;
    _Atomic uint32_t in_flight, connections;
    _Atomic uint64_t rss; /* bytes */
} hob_slot;

/* What the supervisor says. A roll is the change to a new generation that SIGHUP asks for; they are numbered from 1. */
typedef struct hob_service {
    _Atomic hob_owner supervisor;
    _Atomic uint32_t generation, workers;
    _Atomic uint32_t rolls_begun, rolls_ended, roll_failed; /* the last: number of the last one that failed */
    _Atomic uint64_t deaths;                                /* of workers that nobody had told to stop */
    _Atomic uint64_t killed;                                /* workers that had to be */
    char roll_fault[160];                                   /* why roll_failed did; written before rolls_ended */
} hob_service;

typedef struct hob_scoreboard {
    uint64_t magic;
    uint32_t layout, size; /* its version; bytes of all of this */
    char application[HOB_SCOREBOARD_NAME];
    hob_service service;
    hob_slot slots[HOB_SCOREBOARD_SLOTS];
    hob_cache_shared cache; /* the same slots: a worker's number is hob__slot_number */
} hob_scoreboard;
_Static_assert(HOB_SCOREBOARD_SLOTS == HOB_CACHE_SHARED_SLOTS, "a slot is a worker's in both");

/* The one at `configured` (HOB_SCOREBOARD) or, when that is NULL, beside the unix socket that fd is bound to, or below
 * /dev/shm. A file of another application or layout is replaced; those who have it mapped keep it. Never NULL but when
 * memory runs out: when no file can be used, the reason is logged and the scoreboard is this process's own. path gets
 * the file's name, "" when there is none. */
hob_scoreboard *hob__scoreboard_open(const char *configured, const char *application, int fd,
                                     char path[PATH_MAX]) HOB_MUST_CHECK;
/* An existing one, to read. NULL: one line in error. */
const hob_scoreboard *hob__scoreboard_view(const char *path, const char *application, char error[256]) HOB_MUST_CHECK;
void hob__scoreboard_close(const hob_scoreboard *board);

/* A slot for this process, in the state HOB_WORKER_STARTING, its gauges 0. NULL: all are taken (logged). */
hob_slot *hob__slot_claim(hob_scoreboard *board, unsigned generation) HOB_MUST_CHECK;
static inline size_t hob__slot_number(const hob_scoreboard *board, const hob_slot *slot) {
    return (size_t)(slot - board->slots);
}
void hob__slot_release(hob_slot *slot);                        /* by its owner */
void hob__slot_release_dead(hob_scoreboard *board, pid_t pid); /* by who has reaped pid */
void hob__slot_sample(hob_slot *slot);                         /* once a second, by its owner: rss and seen_us */
/* The living ones, the first behind `previous` (NULL: from the beginning); NULL at the end. */
const hob_slot *hob__slot_next(const hob_scoreboard *board, const hob_slot *previous);
const char *hob__worker_state_name(uint32_t state);

typedef struct hob_totals {
    uint64_t requests, failed; /* since the scoreboard was made */
    uint32_t workers, ready, in_flight, connections;
} hob_totals;
hob_totals hob__scoreboard_totals(const hob_scoreboard *board);

#endif
