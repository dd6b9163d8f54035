/* The end of a request's hob_forget calls. */
#ifndef HOB_HANDLER_CACHED_H
#define HOB_HANDLER_CACHED_H

#include "hob.h"

/* Deletes what hob_forget put tombstones on. Waits, so that nobody who has the answer can read anything older. */
void hob__forget_all(hob_ctx *c);

#endif
