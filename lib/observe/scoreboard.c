/* The slots. */
#include "observe/scoreboard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "processes share the atomics");
_Static_assert(sizeof(hob_slot) % 128 == 0, "no two workers write to one cache line, nor to two that come in pairs");

/* ---- Slots ---- */

static void begin(hob_scoreboard *board, hob_slot *slot, unsigned generation) {
    hob__cache_shared_claim(&board->cache, hob__slot_number(board, slot), getpid());
    slot->base.requests = slot->counters.requests;
    slot->base.failed = slot->counters.failed;
    slot->in_flight = 0;
    slot->connections = 0;
    slot->generation = generation;
    slot->started_us = hob__clock_wall_us();
    slot->state = HOB_WORKER_STARTING;
    hob__slot_sample(slot);
}

hob_slot *hob__slot_claim(hob_scoreboard *board, unsigned generation) {
    hob_owner self = hob__owner_of(getpid());
    for (hob_slot *slot = board->slots; self != 0 && slot < board->slots + HOB_SCOREBOARD_SLOTS; slot++) {
        hob_owner owner = slot->owner;
        if (owner != self && hob__owner_alive(owner))
            continue;
        if (atomic_compare_exchange_strong(&slot->owner, &owner, self)) {
            begin(board, slot, generation);
            return slot;
        }
    }
    hob__log(HOB_LOG_WARN, "the scoreboard has no slot for this worker: %s",
             self != 0 ? "all are taken" : "/proc cannot be read");
    return NULL;
}

void hob__slot_release(hob_slot *slot) {
    slot->state = HOB_WORKER_GONE;
    slot->owner = 0;
}

void hob__slot_release_dead(hob_scoreboard *board, pid_t pid) {
    for (hob_slot *slot = board->slots; slot < board->slots + HOB_SCOREBOARD_SLOTS; slot++) {
        hob_owner owner = slot->owner;
        if (owner != 0 && hob__owner_pid(owner) == pid)
            (void)atomic_compare_exchange_strong(&slot->owner, &owner, 0); /* it may have a new owner already */
    }
}

void hob__slot_sample(hob_slot *slot) {
    char statm[128];
    uint64_t pages;
    if (hob__proc_read("/proc/self/statm", statm, sizeof(statm)) > 0 && sscanf(statm, "%*s %" SCNu64, &pages) == 1)
        slot->rss = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    slot->seen_us = hob__clock_wall_us();
}

const hob_slot *hob__slot_next(const hob_scoreboard *board, const hob_slot *previous) {
    const hob_slot *slot = previous != NULL ? previous + 1 : board->slots;
    while (slot < board->slots + HOB_SCOREBOARD_SLOTS && !hob__owner_alive(slot->owner))
        slot++;
    return slot < board->slots + HOB_SCOREBOARD_SLOTS ? slot : NULL;
}

const char *hob__worker_state_name(uint32_t state) {
    static const char *const NAMES[] = {[HOB_WORKER_GONE] = "gone",
                                        [HOB_WORKER_STARTING] = "starting",
                                        [HOB_WORKER_READY] = "ready",
                                        [HOB_WORKER_DRAINING] = "draining"};
    return state < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[state] : "unknown";
}

hob_totals hob__scoreboard_totals(const hob_scoreboard *board) {
    hob_totals totals = {0};
    for (const hob_slot *slot = board->slots; slot < board->slots + HOB_SCOREBOARD_SLOTS; slot++) {
        totals.requests += slot->counters.requests;
        totals.failed += slot->counters.failed;
    }
    for (const hob_slot *slot = NULL; (slot = hob__slot_next(board, slot)) != NULL;) {
        totals.workers++;
        totals.ready += slot->state == HOB_WORKER_READY;
        totals.in_flight += slot->in_flight;
        totals.connections += slot->connections;
    }
    return totals;
}
