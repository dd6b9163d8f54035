/*
 * A worker that crashes (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, a stack overflow in a fiber) or hangs answers every
 * request in flight, since the web server would send those it gets no answer to on to the next worker, and so from one
 * to the other; logs which request it was working on, and where; and dies.
 */
#ifndef HOB_CRASH_H
#define HOB_CRASH_H

#include "run/loop.h"

#define HOB_EXIT_HUNG 70 /* the exit status: EX_SOFTWARE of sysexits.h */

/* By the thread that runs the loop, which becomes the one that answers. A signal that has a handler already (a
 * sanitizer's) keeps it. false: errno says why. */
bool hob__crash_install(const hob_loop *loop) HOB_MUST_CHECK;

/* By another thread: the loop's thread ends the process, unless the loop's pulse is another one by then. */
void hob__crash_hung(uint64_t pulse);

#endif
