#include "data/cache_shared.h"

#include "base/clock.h"

#define WORDS (HOB_CACHE_SHARED_SLOTS / 64)

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock would be a process's own");

static uint64_t bit_of(size_t slot) {
    return UINT64_C(1) << (slot % 64);
}

bool hob__cache_debts_any(const hob_cache_debts *debts) {
    uint64_t bits = 0;
    for (size_t i = 0; i < WORDS; i++)
        bits |= atomic_load(&debts->owed_by[i]);
    uint64_t orphaned = atomic_load(&debts->orphaned);
    return bits != 0 || orphaned != atomic_load(&debts->flushed);
}

void hob__cache_debts_enter(hob_cache_debts *debts, size_t slot) {
    atomic_fetch_or(&debts->owed_by[slot / 64], bit_of(slot));
}

void hob__cache_debts_clear(hob_cache_debts *debts, size_t slot) {
    atomic_fetch_and(&debts->owed_by[slot / 64], ~bit_of(slot));
}

void hob__cache_debts_orphan(hob_cache_debts *debts, size_t slot) {
    atomic_fetch_add(&debts->orphaned, 1);
    hob__cache_debts_clear(debts, slot);
}

static bool owes(const hob_cache_debts *debts, size_t slot) {
    return atomic_load(&debts->owed_by[slot / 64]) & bit_of(slot);
}

void hob__cache_shared_claim(hob_cache_shared *shared, size_t slot, pid_t pid) {
    for (size_t i = 0; i < HOB_CACHE_SHARED_SERVERS; i++)
        if (owes(&shared->servers[i], slot))
            hob__cache_debts_orphan(&shared->servers[i], slot);
    atomic_store(&shared->owners[slot], hob__owner_of(pid));
}

/* Two who bury the same worker, or a newcomer in its slot meanwhile, only make one flush more: what is orphaned wrongly
 * is flushed all the same, and a worker enters its bit with each debt anew. */
void hob__cache_shared_bury(hob_cache_shared *shared, hob_cache_debts *debts) {
    for (size_t slot = 0; slot < HOB_CACHE_SHARED_SLOTS; slot++)
        if (owes(debts, slot) && !hob__owner_alive(atomic_load(&shared->owners[slot])))
            hob__cache_debts_orphan(debts, slot);
}

/* FNV-1a; 64 bits tell a few dozen names apart. Never 0. */
static uint64_t name_hash(const char *host, unsigned port) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *host; host++)
        hash = (hash ^ (unsigned char)*host) * UINT64_C(1099511628211);
    return ((hash ^ port) * UINT64_C(1099511628211)) | 1;
}

/* By name, not by place in the list: workers with the list of yesterday and with that of today may run side by side. */
hob_cache_debts *hob__cache_shared_server(hob_cache_shared *shared, const char *host, unsigned port) {
    uint64_t name = name_hash(host, port);
    for (size_t i = 0; i < HOB_CACHE_SHARED_SERVERS; i++) {
        hob_cache_debts *debts = &shared->servers[i];
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&debts->server, &there, name) || there == name)
            return debts;
    }
    return NULL;
}

uint64_t hob__cache_debts_claim(hob_cache_debts *debts, int64_t now, int64_t patience) {
    uint64_t orphaned = atomic_load(&debts->orphaned);
    if (orphaned == atomic_load(&debts->flushed))
        return 0;
    int64_t since = atomic_load(&debts->flushing);
    /* After `now`: of one who looked at the clock later and was faster; far after it, of before a reboot. */
    bool busy = since != 0 && now - since < patience && since - now < patience;
    return !busy && atomic_compare_exchange_strong(&debts->flushing, &since, now) ? orphaned : 0;
}

/* Forwards only: one who was slow must not take back what the next has settled. */
void hob__cache_debts_settle(hob_cache_debts *debts, uint64_t claim) {
    uint64_t flushed = atomic_load(&debts->flushed);
    while (flushed < claim && !atomic_compare_exchange_weak(&debts->flushed, &flushed, claim))
        continue;
    atomic_store(&debts->flushing, 0);
}
