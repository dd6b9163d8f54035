/*
 * PostgreSQL over a few warm connections: queries of one loop turn leave together as pipelined batches.
 * Tasks only wait for their result; a connection is driven by the loop, so a task that gives up leaves its connection
 * in order. What became of a write whose connection broke without a word, nobody knows: its outcome is UNKNOWN.
 */
#ifndef HOB_DATA_DB_H
#define HOB_DATA_DB_H

#include "base/config.h"
#include "hob.h"
#include "json/rows.h"
#include "run/offload.h"
#include "run/task.h"

typedef struct hob_db hob_db;

/* X(member, help): counters, of the worker's life; for tests, the log and later the metrics. */
#define HOB_DB_COUNTERS(X)                                                                                             \
    X(queries, "queries sent")                                                                                         \
    X(batches, "batches sent")                                                                                         \
    X(syncs, "Syncs sent")                                                                                             \
    X(waits, "queries and transactions that had to wait for a connection")                                             \
    X(wait_ns, "nanoseconds they waited")                                                                              \
    X(prepares, "statements prepared")                                                                                 \
    X(retries, "reads sent again")                                                                                     \
    X(timeouts, "queries given up at their deadline")                                                                  \
    X(connects, "connections opened")                                                                                  \
    X(connect_failures, "connections that failed to open")                                                             \
    X(lost, "connections lost or dropped")                                                                             \
    X(closed_lifetime, "connections closed for their age")                                                             \
    X(closed_max_idle, "connections closed because enough others were idle")                                           \
    X(closed_idle_time, "connections closed because they were idle for long")
typedef struct hob_db_counters {
#define HOB_DB_COUNTER(name, help) uint64_t name;
    HOB_DB_COUNTERS(HOB_DB_COUNTER)
#undef HOB_DB_COUNTER
    uint64_t batch_sizes[33]; /* how many batches had n queries */
} hob_db_counters;

/* config must outlive it. The first connections open in the background; with config->on_demand each opens when
 * something waits that no open one is going to serve, and is waited for longer. A service that DATABASE_URL names
 * becomes PGSERVICE. NULL: no memory. */
hob_db *hob__db_new(hob_loop *loop, hob_offload_pool *offload, const hob_config *config,
                    const char *application_name) HOB_MUST_CHECK;
void hob__db_free(hob_db *db);                  /* closes all; no task may be waiting */
bool hob__db_up(const hob_db *db);              /* the database answers, as far as is known without asking */
bool hob__db_reach(hob_db *db, hob_task *task); /* the same; on demand it connects first, to know */
const hob_db_counters *hob__db_counters(const hob_db *db);

typedef struct hob_db_pool {
    size_t max_open, open, in_use, idle; /* connections */
} hob_db_pool;
hob_db_pool hob__db_pool(const hob_db *db); /* as of now */

/* The result, allocated from the task's arena and cleared with it; never NULL (static rows of NO_MEMORY if need be). */
hob_rows *hob__db_query(hob_db *db, hob_task *task, const hob_query *query, const hob_param *params,
                        size_t count) HOB_MUST_CHECK;

/* Transactions. NULL from begin: *outcome says why; BEGIN itself travels with the first statement. */
typedef struct hob_db_tx_state hob_db_tx_state;
hob_db_tx_state *hob__db_begin(hob_db *db, hob_task *task, hob_tx_options options, hob_outcome *outcome) HOB_MUST_CHECK;
hob_rows *hob__db_tx_query(hob_db_tx_state *tx, const hob_query *query, const hob_param *params,
                           size_t count) HOB_MUST_CHECK;
/* COMMIT travels with it: GOOD when both succeeded, UNKNOWN as of hob__db_commit. Nothing may be asked behind it. */
hob_rows *hob__db_tx_query_last(hob_db_tx_state *tx, const hob_query *query, const hob_param *params,
                                size_t count) HOB_MUST_CHECK;
/* The first failure of its statements, GOOD while there is none. */
hob_outcome hob__db_tx_outcome(const hob_db_tx_state *tx);
/* Both end tx. commit: GOOD, SERIALIZATION, UNKNOWN when the connection was lost behind COMMIT, or another failure
 * (then rolled back). */
hob_outcome hob__db_commit(hob_db_tx_state *tx) HOB_MUST_CHECK;
void hob__db_rollback(hob_db_tx_state *tx);

#endif
