#include "run/fiber.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "run/fiber_annotate.h"
#include "run/fiber_context.h"

/* Wide enough that a frame of a library built without stack probes cannot step over it. */
#define GUARD (64 * 1024)
#define MAPPING (GUARD + HOB_FIBER_STACK)
#define POOL_MAX 16384   /* ended fibers that keep their mapping; a power of two */
#define POOL_MAPPED 1024 /* so many keep it in any case; more, when more were alive at once */
#define POOL_WARM 64     /* the same for all the memory they touched */
#define EPOCH 4096       /* "were": while so many ended */
#define KEPT 8192        /* what the cold ones keep: the shallow end, where the next life begins */
#define TRIMS_A_PUT 4    /* one gives a crowd's memory back as fast as it leaves, and none stalls the loop */

/* Stands at the upper end of its own stack, so a sleeping fiber that went no deeper costs one page. */
struct hob_fiber {
    hob_context context;
    void (*fn)(void *arg);
    void *arg;
    char *stack; /* lowest usable byte */
    void *fake_stack;
    unsigned valgrind_id;
    bool ended;
};

static struct {
    hob_context context;
    void *fake_stack;
    const void *stack;
    size_t stack_size;
} loop_side;

/* A ring: the last one put is the first one taken, so the oldest are those that have been idle longest. */
static struct {
    hob_fiber *fibers[POOL_MAX];
    size_t oldest;
    size_t cold; /* so many of the oldest are without the memory they touched */
} pool;
static hob_fiber_stats counts;
static struct {
    size_t ended, most; /* fibers of this epoch: that ended, alive at once */
    size_t most_before; /* of the last one: the pool keeps as many ready */
} epoch;
static _Thread_local hob_fiber *running;

static size_t stack_size(const hob_fiber *fiber) {
    return (size_t)((const char *)fiber - fiber->stack);
}

static hob_fiber *map(void) {
    /* MAP_STACK keeps huge pages away: one of them would cost each fiber more than its whole stack. */
    char *mapping = mmap(NULL, MAPPING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (mapping == MAP_FAILED) {
        hob__log(HOB_LOG_ERROR, "no memory for a fiber's stack: %s", strerror(errno));
        return NULL;
    }
    if (mprotect(mapping + GUARD, HOB_FIBER_STACK, PROT_READ | PROT_WRITE) != 0) {
        hob__log(HOB_LOG_ERROR, "no memory for a fiber's stack: %s", strerror(errno));
        munmap(mapping, MAPPING);
        return NULL;
    }
    size_t own = (sizeof(hob_fiber) + 63) & ~(size_t)63;
    hob_fiber *fiber = (hob_fiber *)(mapping + MAPPING - own);
    fiber->stack = mapping + GUARD;
    fiber->valgrind_id = VALGRIND_STACK_REGISTER(fiber->stack, fiber);
    return fiber;
}

static void unmap(hob_fiber *fiber) {
    VALGRIND_STACK_DEREGISTER(fiber->valgrind_id);
    munmap(fiber->stack - GUARD, MAPPING);
}

static hob_fiber **pool_at(size_t age) {
    return &pool.fibers[(pool.oldest + age) % POOL_MAX];
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static void drop_oldest(void) {
    unmap(*pool_at(0));
    pool.oldest++;
    counts.pooled--;
    if (pool.cold > 0)
        pool.cold--;
}

/* Whether there was something that is not needed any more. */
static bool trim(void) {
    if (counts.pooled > larger(epoch.most_before, POOL_MAPPED))
        drop_oldest();
    else if (counts.pooled - pool.cold > larger(epoch.most_before, POOL_WARM))
        madvise((*pool_at(pool.cold++))->stack, HOB_FIBER_STACK - KEPT, MADV_DONTNEED);
    else
        return false;
    return true;
}

static void count_ended(void) {
    if (++epoch.ended < EPOCH + epoch.most_before) /* a crowd that comes in waves has one in each epoch */
        return;
    epoch.most_before = epoch.most;
    epoch.most = counts.live;
    epoch.ended = 0;
}

static __attribute__((noinline)) void pool_put(hob_fiber *fiber) { /* not a part of each switch */
    count_ended();
    if (counts.pooled == POOL_MAX)
        drop_oldest();
    *pool_at(counts.pooled++) = fiber;
    for (int i = 0; i < TRIMS_A_PUT && trim(); i++) {
    }
}

static hob_fiber *pool_take(void) {
    if (counts.pooled == 0)
        return NULL;
    hob_fiber *fiber = *pool_at(--counts.pooled);
    if (pool.cold > counts.pooled)
        pool.cold = counts.pooled;
    return fiber;
}

void hob__fiber_pool_free(void) {
    for (hob_fiber *fiber; (fiber = pool_take());)
        unmap(fiber);
}

/* A fiber's first and last frame. It must hold nothing whose address is taken: no stack is known before
 * annotate_arrive. */
static void entry(void) {
    annotate_arrive(NULL, &loop_side.stack, &loop_side.stack_size);
    running->fn(running->arg);
    running->ended = true;
    annotate_leave(NULL, loop_side.stack, loop_side.stack_size);
    context_switch(&running->context, &loop_side.context);
    __builtin_unreachable();
}

hob_fiber *hob__fiber_new(void (*fn)(void *arg), void *arg) {
    hob_fiber *fiber = pool_take();
    if (!fiber && !(fiber = map()))
        return NULL;
    annotate_begin(fiber->stack, stack_size(fiber));
    fiber->fn = fn;
    fiber->arg = arg;
    fiber->fake_stack = NULL;
    fiber->ended = false;
    context_make(&fiber->context, fiber->stack, (char *)fiber, entry);
    counts.live++;
    if (counts.live > epoch.most)
        epoch.most = counts.live;
    return fiber;
}

bool hob__fiber_resume(hob_fiber *fiber) {
    running = fiber;
    annotate_leave(&loop_side.fake_stack, fiber->stack, stack_size(fiber));
    context_switch(&loop_side.context, &fiber->context);
    annotate_arrive(loop_side.fake_stack, NULL, NULL);
    running = NULL;
    if (!fiber->ended)
        return true;
    annotate_end(fiber->stack, stack_size(fiber));
    counts.live--;
    pool_put(fiber);
    return false;
}

void hob__fiber_suspend(void) {
    hob_fiber *fiber = running;
    annotate_leave(&fiber->fake_stack, loop_side.stack, loop_side.stack_size);
    context_switch(&fiber->context, &loop_side.context);
    annotate_arrive(fiber->fake_stack, &loop_side.stack, &loop_side.stack_size);
}

hob_fiber *hob__fiber_self(void) {
    return running;
}

bool hob__fiber_overflowed(const void *address) {
    const char *at = address;
    return running && at >= running->stack - GUARD && at < running->stack;
}

hob_fiber_stats hob__fiber_count(void) {
    return counts;
}
