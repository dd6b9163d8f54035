/* The end of a request's hob_forget calls. */
#ifndef HOB_HANDLER_CACHED_H
#define HOB_HANDLER_CACHED_H

#include "hob.h"

void hob__forget_all(hob_ctx *c); /* deletes what hob_forget put tombstones on; returns at once */

#endif
