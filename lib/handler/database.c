/* Queries and transactions as a handler sees them. */
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

int hob_db_tx(hob_ctx *c, hob_tx_options options, hob_task_fn *fn, void *arg) {
    hob_outcome outcome = HOB_OUTCOME_UNAVAILABLE;
    int status = 0;
    if (c->transaction)
        return hob_problem(c, 500, "a transaction within a transaction");
    int64_t pause = TX_PAUSE;
    for (int tries = 1; c->services->db; tries++, pause *= 2) {
        status = attempt(c, options, fn, arg, &outcome);
        if (outcome != HOB_OUTCOME_SERIALIZATION || tries == TX_ATTEMPTS)
            break;
        int64_t until = hob__clock_ns() + (int64_t)((double)pause * hob__jitter(0.5));
        if (hob__task_park(c->task, until) == HOB_WAKE_CANCELLED)
            break;
    }
    if (status >= 400 && outcome != HOB_OUTCOME_SERIALIZATION)
        return status; /* fn has told the client already, and better */
    return hob_rows_status(c, &(hob_rows){.outcome = outcome}, NULL);
}
