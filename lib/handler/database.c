/* Queries and transactions as a handler sees them. */
#include <string.h>

#include "base/random.h"
#include "handler/services.h"

#define TX_ATTEMPTS 3
#define TX_PAUSE (10 * HOB_MS) /* before a transaction's second attempt; doubled before the third, jittered */

hob_rows *hob_db_query_list(hob_ctx *c, const hob_query *query, const hob_param *params, size_t count) {
    static hob_rows none = {.outcome = HOB_OUTCOME_UNAVAILABLE};
    if (c->transaction)
        return hob__db_tx_query(c->transaction, query, params, count);
    if (!c->services->db)
        return &none;
    return hob__db_query(c->services->db, c->task, query, params, count);
}

hob_rows *hob_db_query_last_list(hob_ctx *c, const hob_query *query, const hob_param *params, size_t count) {
    if (c->transaction)
        return hob__db_tx_query_last(c->transaction, query, params, count);
    return hob_db_query_list(c, query, params, count);
}

/* What had been answered before fn ran: what fn says in an attempt that comes to nothing must not show in the answer.
 * Headers are copied, since setting one replaces it in place. */
typedef struct answer {
    int status;
    hob_text body, content_type, problem_detail;
    hob_pair *headers;
    size_t header_count;
} answer;

static bool save(hob_ctx *c, answer *before) {
    const hob_response *r = c->response;
    size_t size = r->header_count * sizeof *r->headers;
    *before = (answer){r->status,      r->body, r->content_type, r->problem_detail, hob__arena_alloc(c->arena, size),
                       r->header_count};
    if (size > 0 && before->headers)
        memcpy(before->headers, r->headers, size);
    return before->headers != NULL;
}

static void restore(hob_ctx *c, const answer *before) {
    hob_response *r = c->response;
    if (before->header_count > 0)
        memcpy(r->headers, before->headers, before->header_count * sizeof *r->headers);
    r->header_count = before->header_count;
    r->status = before->status;
    r->body = before->body;
    r->content_type = before->content_type;
    r->problem_detail = before->problem_detail;
}

/* One attempt: what fn answered, and how the database saw it. */
static int attempt(hob_ctx *c, hob_tx_options options, hob_task_fn *fn, void *arg, hob_outcome *outcome) {
    hob_db_tx_state *tx = hob__db_begin(c->services->db, c->task, options, outcome);
    if (!tx)
        return 0;
    c->transaction = tx;
    int status = fn(c, arg);
    c->transaction = NULL;
    *outcome = hob__db_tx_outcome(tx);
    if (status < 400 && *outcome == HOB_OUTCOME_GOOD)
        *outcome = hob__db_commit(tx);
    else
        hob__db_rollback(tx);
    return status;
}

/* Before the next attempt; false: the client has gone. */
static bool pause(hob_ctx *c, int tries) {
    int64_t length = (int64_t)((double)(TX_PAUSE << (tries - 1)) * hob__jitter(0.5));
    return hob__task_park(c->task, hob__clock_ns() + length) != HOB_WAKE_CANCELLED;
}

int hob_db_tx(hob_ctx *c, hob_tx_options options, hob_task_fn *fn, void *arg) {
    hob_outcome outcome = HOB_OUTCOME_UNAVAILABLE;
    answer before;
    int status = 0;
    if (c->transaction)
        return hob_problem(c, 500, "a transaction within a transaction");
    if (!save(c, &before))
        return hob_unavailable(c, 1, "out of memory");
    for (int tries = 1; c->services->db; tries++) {
        status = attempt(c, options, fn, arg, &outcome);
        if (outcome != HOB_OUTCOME_SERIALIZATION || tries == TX_ATTEMPTS || !pause(c, tries))
            break;
        restore(c, &before);
    }
    if (outcome == HOB_OUTCOME_GOOD || (status >= 400 && outcome != HOB_OUTCOME_SERIALIZATION))
        return status; /* fn has told the client already, and better */
    restore(c, &before);
    return hob_rows_status(c, &(hob_rows){.outcome = outcome}, NULL);
}
