/*
 * A worker's tie to the supervisor that started it: one end of a socket pair, whose number the supervisor left in the
 * environment. Without a supervisor all of this does nothing.
 */
#ifndef HOB_SUPERVISED_H
#define HOB_SUPERVISED_H

#include "hob.h"

#define HOB_SUPERVISED_FD "LIBHOB_SUPERVISOR_FD"
#define HOB_SUPERVISED_GENERATION "LIBHOB_GENERATION"
#define HOB_SUPERVISED_READY 'R' /* the bytes that say so */
#define HOB_SUPERVISED_DRAINING 'D'

/* For the loop to watch: once it is readable (EPOLLIN, EPOLLHUP: its end) the supervisor has died, and the worker
 * drains. -1: nobody supervises. Its first call takes the variables out of the environment, so it comes before
 * threads. */
int hob__supervised_fd(void);
unsigned hob__supervised_generation(void); /* counted by the supervisor from 1; 0: nobody supervises */
void hob__supervised_ready(void);          /* this worker serves; the supervisor waits for it */
void hob__supervised_draining(void);       /* it takes no more: the supervisor starts another in its place now */

#endif
