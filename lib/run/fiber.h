/* Fibers: stacks and the switch between them. Knows nothing of waiting; run/task.h does. One thread only. */
#ifndef HOB_RUN_FIBER_H
#define HOB_RUN_FIBER_H

#include "hob.h"

#define HOB_FIBER_STACK (256 * 1024) /* address space, guard page besides; only touched pages cost memory */

typedef struct hob_fiber hob_fiber;

/* From the pool or a new mapping; NULL when there is none to be had. Not started. */
hob_fiber *hob__fiber_new(void (*fn)(void *arg), void *arg) HOB_MUST_CHECK;
/* From the loop's own stack: runs the fiber until it suspends (true) or has ended (false; it is back in the pool then).
 */
bool hob__fiber_resume(hob_fiber *fiber);
void hob__fiber_suspend(void);    /* from inside a fiber */
hob_fiber *hob__fiber_self(void); /* NULL on the loop's own stack and in other threads */
/* Whether the address lies in the guard of the running fiber: its stack was too small. For signal handlers. */
bool hob__fiber_overflowed(const void *address);
void hob__fiber_pool_free(void); /* unmaps what the pool holds */

typedef struct hob_fiber_stats {
    size_t live, pooled;
} hob_fiber_stats;
hob_fiber_stats hob__fiber_count(void);

#endif
