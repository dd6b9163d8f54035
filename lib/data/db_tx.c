/*
 * A transaction has a connection of its own from hob__db_begin to its end. BEGIN travels with its first statement, so
 * one that asks nothing costs nothing; and COMMIT with the last one, where the program says which that is.
 */
#include <string.h>

#include "base/log.h"
#include "data/db_private.h"

#define ROLLBACK_TIME (5 * HOB_S)

const char *hob__db_begin_sql(hob_tx_options options) {
    static const char *const sql[][2] = {
        [HOB_TX_DEFAULT] = {"BEGIN", "BEGIN READ ONLY"},
        [HOB_TX_REPEATABLE_READ] = {"BEGIN ISOLATION LEVEL REPEATABLE READ",
                                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
        [HOB_TX_SERIALIZABLE] = {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"}};
    return sql[options.isolation][options.read_only];
}

/* The last connection is left to everybody else; on demand, the last that may be opened. */
static bool one_to_spare(const hob_db *db) {
    size_t all = db->config->on_demand ? db->connection_count : hob__db_open(db);
    return db->connection_count == 1 || all - db->held > 1;
}

static void dequeue(hob_db_tx_state *tx) {
    TAILQ_REMOVE(&tx->db->begins, tx, link);
    tx->queued = false;
}

void hob__db_begins_serve(hob_db *db) {
    hob_db_connection *connection;
    while (!TAILQ_EMPTY(&db->begins) && one_to_spare(db) && (connection = hob__db_idle_connection(db))) {
        if (!one_to_spare(db)) /* the look for a sound one has found others dead */
            return;
        hob_db_tx_state *tx = TAILQ_FIRST(&db->begins);
        dequeue(tx);
        tx->connection = connection;
        connection->tx = tx;
        db->held++;
        hob__db_connection_set(connection, HOB_DB_HELD);
        hob__task_wake(tx->task);
    }
}

void hob__db_begins_refuse(hob_db *db) {
    for (hob_db_tx_state *tx; (tx = TAILQ_FIRST(&db->begins));) {
        dequeue(tx);
        tx->outcome = HOB_OUTCOME_UNAVAILABLE;
        hob__task_wake(tx->task);
    }
}

static hob_outcome give_up(hob_db *db, hob_wake wake) {
    if (wake == HOB_WAKE_CANCELLED)
        return HOB_OUTCOME_CANCELLED;
    db->counters.timeouts++;
    return hob__db_open(db) == 0 ? HOB_OUTCOME_UNAVAILABLE : HOB_OUTCOME_NO_FREE_CONNECTION;
}

static hob_wake wait_in_queue(hob_db *db, hob_task *task) {
    int64_t since = hob__clock_ns();
    hob_wake wake = hob__task_park(task, hob__db_wait_ends(db));
    db->counters.wait_ns += (uint64_t)(hob__clock_ns() - since);
    return wake;
}

/* A connection that is lost before the task woke to it is asked for again. */
static hob_outcome wait_for_connection(hob_db *db, hob_db_tx_state *tx) {
    hob_task *task = tx->task;
    while (!tx->connection && tx->outcome == HOB_OUTCOME_GOOD) {
        if (!tx->queued) {
            TAILQ_INSERT_TAIL(&db->begins, tx, link);
            tx->queued = true;
            hob__db_begins_serve(db);
            db->counters.waits += tx->queued;
        }
        hob_wake wake = tx->connection ? HOB_WAKE_READY : wait_in_queue(db, task);
        bool over = task->deadline <= hob__clock_ns() || hob__db_open(db) == 0;
        if (tx->queued && (wake == HOB_WAKE_CANCELLED || (wake == HOB_WAKE_TIMEOUT && over))) {
            dequeue(tx);
            return give_up(db, wake);
        }
    }
    return tx->outcome;
}

hob_db_tx_state *hob__db_begin(hob_db *db, hob_task *task, hob_tx_options options, hob_outcome *outcome) {
    if (hob__db_unavailable(db)) {
        hob__db_wanted(db);
        *outcome = HOB_OUTCOME_UNAVAILABLE;
        return NULL;
    }
    hob_db_tx_state *tx = hob__arena_calloc(task->arena, 1, sizeof *tx);
    if (!tx) {
        *outcome = HOB_OUTCOME_NO_MEMORY;
        return NULL;
    }
    *tx = (hob_db_tx_state){.db = db, .task = task, .options = options};
    TAILQ_INIT(&tx->calls);
    *outcome = wait_for_connection(db, tx);
    return *outcome == HOB_OUTCOME_GOOD ? tx : NULL;
}

static hob_outcome run(hob_db_tx_state *tx, hob_db_call *call) {
    call->tx = tx;
    return tx->connection ? hob__db_call_run(tx->db, call) : HOB_OUTCOME_UNAVAILABLE;
}

static bool cancelled(hob_task *task) {
    return hob__task_park(task, 0) == HOB_WAKE_CANCELLED; /* a time that has passed: it does not sleep */
}

/* Why there is nothing to commit; GOOD: there may be. */
static hob_outcome before_commit(hob_db_tx_state *tx) {
    if (tx->outcome != HOB_OUTCOME_GOOD)
        return tx->outcome;
    if (!tx->connection)
        return HOB_OUTCOME_UNAVAILABLE;
    if (cancelled(tx->task))
        return HOB_OUTCOME_CANCELLED;
    return tx->task->deadline <= hob__clock_ns() ? HOB_OUTCOME_TIMEOUT : HOB_OUTCOME_GOOD;
}

static hob_outcome before_query(const hob_db_tx_state *tx, const hob_query *query) {
    if (!tx->over)
        return HOB_OUTCOME_GOOD;
    hob__log(HOB_LOG_ERROR, "database: behind the last query of its transaction: %s", query->sql);
    return HOB_OUTCOME_FAILED;
}

static hob_rows *ask(hob_db_tx_state *tx, const hob_query *query, const hob_param *params, size_t count, bool last) {
    hob_db_call call;
    /* The running task, which may be a branch of the one that began. */
    hob_outcome outcome = hob__db_call_init(tx->db, &call, hob__task_self(), query, params, count);
    call.commit = call.last = last;
    if (outcome == HOB_OUTCOME_GOOD)
        outcome = before_query(tx, query);
    if (outcome == HOB_OUTCOME_GOOD && last)
        outcome = before_commit(tx);
    if (outcome == HOB_OUTCOME_GOOD) {
        tx->over = last;
        outcome = run(tx, &call);
    }
    hob_rows *rows = hob__db_rows(&call, outcome);
    if (tx->outcome == HOB_OUTCOME_GOOD)
        tx->outcome = rows->outcome;
    return rows;
}

hob_rows *hob__db_tx_query(hob_db_tx_state *tx, const hob_query *query, const hob_param *params, size_t count) {
    return ask(tx, query, params, count, false);
}

hob_rows *hob__db_tx_query_last(hob_db_tx_state *tx, const hob_query *query, const hob_param *params, size_t count) {
    return ask(tx, query, params, count, true);
}

hob_outcome hob__db_tx_outcome(const hob_db_tx_state *tx) {
    return tx->outcome;
}

void hob__db_tx_detach(hob_db_tx_state *tx) {
    hob__db_calls_refuse(tx->db, &tx->calls);
    tx->connection->tx = NULL;
    tx->connection = NULL;
    tx->db->held--;
}

/* The connection is everybody's again, or, with a statement still under way, nobody's. */
static void release(hob_db_tx_state *tx) {
    hob_db_connection *connection = tx->connection;
    if (!connection)
        return;
    if (connection->state == HOB_DB_BUSY) {
        hob__db_connection_lose(connection, "its transaction ended before its statements", false);
        return;
    }
    hob__db_tx_detach(tx);
    hob__db_connection_rest(connection);
}

void hob__db_rollback(hob_db_tx_state *tx) {
    hob_db_connection *connection = tx->connection;
    bool nothing = !connection || !tx->begun || PQtransactionStatus(connection->pg) == PQTRANS_IDLE;
    if (nothing || connection->state == HOB_DB_BUSY) {
        release(tx);
        return;
    }
    if (cancelled(tx->task)) {
        hob__db_connection_lose(connection, "its transaction was cancelled", false);
        return;
    }
    hob__db_tx_detach(tx);
    hob__timer_set(tx->db->loop, &connection->timer, hob__clock_ns() + ROLLBACK_TIME);
    hob__db_batch_send_rollback(connection);
}

/* PostgreSQL answers COMMIT with ROLLBACK, and no error, when a statement had failed. */
static hob_outcome outcome_of_commit(hob_db_call *call, hob_outcome outcome) {
    if (PQresultStatus(call->result) != PGRES_COMMAND_OK)
        return hob__db_rows(call, outcome)->outcome;
    bool committed = strcmp(PQcmdStatus(call->result), "COMMIT") == 0;
    PQclear(call->result);
    if (!committed)
        hob__log(HOB_LOG_ERROR, "database: COMMIT of a transaction that had failed");
    return committed ? HOB_OUTCOME_GOOD : HOB_OUTCOME_FAILED;
}

static hob_outcome send_commit(hob_db_tx_state *tx) {
    static const hob_query COMMIT = HOB_WRITE(HOB_DB_COMMIT);
    hob_db_call call;
    hob_outcome outcome = hob__db_call_init(tx->db, &call, tx->task, &COMMIT, NULL, 0);
    call.commit = true;
    if (outcome == HOB_OUTCOME_GOOD)
        outcome = run(tx, &call);
    return outcome_of_commit(&call, outcome);
}

hob_outcome hob__db_commit(hob_db_tx_state *tx) {
    bool committed = tx->over && tx->outcome == HOB_OUTCOME_GOOD;
    hob_outcome outcome = committed ? HOB_OUTCOME_GOOD : before_commit(tx);
    if (outcome != HOB_OUTCOME_GOOD) {
        hob__db_rollback(tx);
        return outcome;
    }
    if (tx->begun && !committed)
        outcome = send_commit(tx);
    release(tx);
    return outcome;
}
