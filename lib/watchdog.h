/* A thread that looks whether the loop still turns. When it has not for as long as HOB_WATCHDOG, and does not wait for
 * events either, the process ends (crash.h), for somebody to start another one. */
#ifndef HOB_WATCHDOG_H
#define HOB_WATCHDOG_H

#include "run/loop.h"

typedef struct hob_watchdog hob_watchdog;

/* hob__crash_install has been called for the loop. NULL: errno says why. */
hob_watchdog *hob__watchdog_start(const hob_loop *loop, int64_t limit_ns) HOB_MUST_CHECK;
void hob__watchdog_stop(hob_watchdog *watchdog); /* waits for the thread's end; NULL is none */

#endif
