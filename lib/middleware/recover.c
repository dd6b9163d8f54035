/* Inside the access log, so that the log tells what the client was really answered. */
#include "http/ctx.h"

int hob_recover(hob_ctx *c, const hob_chain *chain) {
    return hob__settle(c, hob_next(c, chain));
}
