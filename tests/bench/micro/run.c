#include "operations.h"
#include "run/fiber.h"

/* ---- fiber_switch: there and back are two ---- */

static hob_fiber *sleeper;

static void sleep_for_ever(void *unused) {
    (void)unused;
    for (;;)
        hob__fiber_suspend();
}

static void run_fiber_switch(void) {
    hob__fiber_resume(sleeper);
}

static void begin_fiber_switch(void) {
    sleeper = hob__fiber_new(sleep_for_ever, NULL);
    EXPECT(sleeper && hob__fiber_resume(sleeper));
}

/* ---- fiber_life: from the pool, to its end ---- */

static void do_nothing(void *unused) {
    (void)unused;
}

static void run_fiber_life(void) {
    hob_fiber *fiber = hob__fiber_new(do_nothing, NULL);
    EXPECT(fiber && !hob__fiber_resume(fiber));
}

const operation run_operations[] = {
    {.name = "fiber_switch", .begin = begin_fiber_switch, .run = run_fiber_switch, .at_once = 2},
    {.name = "fiber_life", .run = run_fiber_life},
    {0},
};
