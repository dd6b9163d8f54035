#include "base/clock.h"
#include "base/config.h"
#include "http/ctx.h"

/* Nothing is measured here: whatever waits in the task ends at its deadline and answers 504. */
int hob_deadline(hob_ctx *c, const hob_chain *chain) {
    int64_t started = c->request->started > 0 ? c->request->started : hob__clock_ns();
    int64_t deadline = hob__time_after(started, c->config->request_timeout);
    if (deadline < c->task->deadline)
        c->task->deadline = deadline;
    return hob_next(c, chain);
}
