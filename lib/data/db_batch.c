/*
 * A batch goes to a connection that has nothing under way: quick reads under one Sync, and whatever must not share
 * another's fate under a Sync of its own. What is under one Sync is one implicit transaction, committed by the server
 * when it gets there: a write is settled by the Sync, never before. What a read has brought is its own at once.
 */
#include "data/db_private.h"

/* ---- Sending ---- */

static void push(hob_db_connection *connection, hob_db_slot_kind kind, hob_db_call *call, hob_db_statement *statement) {
    connection->slots[connection->slot_count++] = (hob_db_slot){
        .kind = kind, .call = call, .statement = statement, .generation = statement ? statement->generation : 0};
}

static void begin(hob_db_connection *connection) {
    connection->slot_count = connection->slot_next = connection->group = 0;
    connection->rolls_back = false;
    connection->group_began = hob__clock_ns();
    hob__db_connection_set(connection, HOB_DB_BUSY);
}

static bool send_frame(hob_db_connection *connection, hob_db_call *call, const char *sql, int count,
                       const char *const *values) {
    if (!PQsendQueryParams(connection->pg, sql, count, NULL, values, NULL, NULL, 1))
        return false;
    push(connection, HOB_DB_SLOT_FRAME, call, NULL);
    return true;
}

static bool in_group(const hob_db_connection *connection) {
    return connection->slot_count > 0 && connection->slots[connection->slot_count - 1].kind != HOB_DB_SLOT_SYNC;
}

/* What must run before the first statement of a (possibly implicit) transaction. */
static bool send_head(hob_db_connection *connection, hob_db_call *call) {
    static const char timeouts[] =
        "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)";
    const hob_db *db = connection->db;
    hob_db_tx_state *tx = call->tx;
    if (tx ? tx->begun : in_group(connection))
        return true;
    if (tx && !send_frame(connection, call, hob__db_begin_sql(tx->options), 0, NULL))
        return false;
    if (tx)
        tx->begun = true;
    return db->config->db_prepare ||
           send_frame(connection, call, timeouts, 2, (const char *[]){db->statement_timeout, db->lock_timeout});
}

static bool send_prepare(hob_db_connection *connection, hob_db_call *call, hob_db_statement *statement,
                         const char *name) {
    if (statement->prepared[connection->index] == statement->generation)
        return true;
    if (!PQsendPrepare(connection->pg, name, statement->sql, statement->param_count, statement->types))
        return false;
    push(connection, HOB_DB_SLOT_PREPARE, call, statement);
    statement->prepared[connection->index] = statement->generation;
    connection->db->counters.prepares++;
    return true;
}

/* statement: NULL: unprepared. call: which it is, or is for. */
static bool send_statement(hob_db_connection *connection, hob_db_call *call, hob_db_statement *statement,
                           const char *sql, const hob_db_params *params) {
    char name[HOB_DB_STATEMENT_NAME];
    if (!statement || !connection->db->config->db_prepare)
        return PQsendQueryParams(connection->pg, sql, params->count, params->types, params->values, params->lengths,
                                 params->formats, 1);
    hob__db_statement_name(statement, name);
    return send_prepare(connection, call, statement, name) &&
           PQsendQueryPrepared(connection->pg, name, params->count, params->values, params->lengths, params->formats,
                               1);
}

/* Under the Sync of its call, so the server comes to it only when that succeeded. */
static bool send_commit(hob_db_connection *connection, hob_db_call *call) {
    static const hob_db_params none;
    hob_db_statement *statement = hob__db_statement(connection->db, HOB_DB_COMMIT, &none);
    if (!send_statement(connection, call, statement, HOB_DB_COMMIT, &none)) {
        hob__db_connection_lose(connection, PQerrorMessage(connection->pg), false);
        return false;
    }
    push(connection, HOB_DB_SLOT_FRAME, call, statement);
    return true;
}

/* Nothing of it was sent. What libpq refuses twice, it will refuse again. */
static void refuse(hob_db_connection *connection, hob_db_call *call) {
    if (call->lost) {
        TAILQ_REMOVE(call->queue, call, link);
        hob__db_call_end(call, HOB_OUTCOME_UNAVAILABLE);
    }
    call->lost = true;
    hob__db_connection_lose(connection, PQerrorMessage(connection->pg), false);
}

static bool send_call(hob_db_connection *connection, hob_db_call *call) {
    if (!send_head(connection, call) || !send_statement(connection, call, call->statement, call->sql, &call->params)) {
        refuse(connection, call);
        return false;
    }
    TAILQ_REMOVE(call->queue, call, link);
    hob__db_call_waits_no_longer(connection->db, call);
    push(connection, HOB_DB_SLOT_CALL, call, call->statement);
    call->state = HOB_DB_SENT;
    call->connection = connection;
    connection->live++;
    connection->db->counters.queries++;
    return !call->last || send_commit(connection, call);
}

static bool send_sync(hob_db_connection *connection) {
    if (!PQpipelineSync(connection->pg)) {
        hob__db_connection_lose(connection, PQerrorMessage(connection->pg), false);
        return false;
    }
    push(connection, HOB_DB_SLOT_SYNC, NULL, NULL);
    connection->db->counters.syncs++;
    return true;
}

static void end(hob_db_connection *connection) {
    hob_db_counters *counters = &connection->db->counters;
    counters->batches++;
    counters->batch_sizes[connection->live]++;
    (void)hob__db_connection_flush(connection);
}

/* What a batch is being filled with. */
typedef enum sharing { SHARED_SYNC, OWN_SYNC, SLOW } sharing;

static sharing sharing_of(const hob_db_call *call) {
    if (!hob__db_statement_quick(call->statement))
        return SLOW;
    return call->write || call->alone ? OWN_SYNC : SHARED_SYNC;
}

/* The quick call at which the batch is full; NULL: it takes all of them. First come, first served, of either kind. */
static const hob_db_call *first_left_out(const hob_db *db, size_t most) {
    const hob_db_call *call;
    size_t count = 0;
    int64_t expected = 0;
    TAILQ_FOREACH(call, &db->waiting, link) {
        if (sharing_of(call) == SLOW)
            continue;
        expected += call->statement->average;
        if (count == most || (count > 0 && expected > HOB_DB_BATCH_TIME))
            return call;
        count++;
    }
    return NULL;
}

/* All of one kind that come before left_out. false: the connection is lost. */
static bool fill(hob_db_connection *connection, sharing kind, const hob_db_call *left_out) {
    size_t before = connection->live;
    for (hob_db_call *call = TAILQ_FIRST(&connection->db->waiting), *next; call != left_out; call = next) {
        next = TAILQ_NEXT(call, link);
        if (sharing_of(call) != kind)
            continue;
        if (!send_call(connection, call) || (kind == OWN_SYNC && !send_sync(connection)))
            return false;
    }
    return kind == OWN_SYNC || connection->live == before || send_sync(connection);
}

static hob_db_call *first_slow(const hob_db *db) {
    hob_db_call *call = TAILQ_FIRST(&db->waiting);
    while (call && sharing_of(call) != SLOW)
        call = TAILQ_NEXT(call, link);
    return call;
}

/* A slow call goes alone; but on the last idle connection it goes behind the quick ones, which do not wait for it
 * there, so that neither kind starves. */
void hob__db_batch_send(hob_db_connection *connection) {
    hob_db *db = connection->db;
    bool last = db->in_state[HOB_DB_IDLE] == 1;
    hob_db_call *slow = first_slow(db);
    const hob_db_call *left_out = first_left_out(db, HOB_DB_BATCH - (last && slow));
    begin(connection);
    if (!fill(connection, SHARED_SYNC, left_out) || !fill(connection, OWN_SYNC, left_out))
        return;
    if (slow && (last || connection->live == 0) && !(send_call(connection, slow) && send_sync(connection)))
        return;
    end(connection);
}

void hob__db_batch_send_tx(hob_db_connection *connection) {
    hob_db_calls *calls = &connection->tx->calls;
    begin(connection);
    for (hob_db_call *call; (call = TAILQ_FIRST(calls)) && connection->live < HOB_DB_BATCH;)
        if (!send_call(connection, call) || !send_sync(connection))
            return;
    end(connection);
}

void hob__db_batch_send_rollback(hob_db_connection *connection) {
    begin(connection);
    connection->rolls_back = true;
    if (!send_frame(connection, NULL, "ROLLBACK", 0, NULL))
        hob__db_connection_lose(connection, PQerrorMessage(connection->pg), false);
    else if (send_sync(connection))
        end(connection);
}

/* ---- Results ---- */

static bool failed(const PGresult *result) {
    return PQresultStatus(result) == PGRES_FATAL_ERROR;
}

/* What a failure says about the statement at the server. */
static void note_failure(const hob_db_connection *connection, const hob_db_slot *slot, const PGresult *result) {
    hob_db_statement *statement = slot->statement;
    if (!statement || statement->generation != slot->generation)
        return;
    if (slot->kind == HOB_DB_SLOT_PREPARE)
        statement->prepared[connection->index] = 0;
    else if (hob__db_stale_plan(result))
        statement->generation++;
}

/* A transaction that the program has declared read-only says nothing of the server. */
static bool shows_read_only(const hob_db_slot *slot, const PGresult *result) {
    const hob_db_call *call = slot->call;
    return call && !(call->tx && call->tx->options.read_only) && hob__db_refused_write(result);
}

/* Keeps the result for the call's Sync; of what stands around a call, only its failure. The first error is what
 * happened: what follows it only says so. */
static void keep(const hob_db_slot *slot, PGresult *result) {
    hob_db_call *call = slot->call;
    bool told = call && call->result && failed(call->result);
    if (!call || told || (slot->kind != HOB_DB_SLOT_CALL && !failed(result))) {
        PQclear(result);
        return;
    }
    PQclear(call->result);
    call->result = result;
}

/* Outside of transactions: aborted by a failure that was not its own, or refused because its plan was stale. */
static bool goes_again(const hob_db_call *call, bool aborted) {
    if (call->tx)
        return false;
    return aborted ? !call->alone : failed(call->result) && hob__db_stale_plan(call->result) && !call->reprepared;
}

static void settle(hob_db_connection *connection, hob_db_call *call, bool aborted) {
    connection->live--;
    if (!goes_again(call, aborted)) {
        hob__db_call_end(call, HOB_OUTCOME_GOOD);
        return;
    }
    call->reprepared |= !aborted;
    call->alone = true;
    connection->db->counters.retries++;
    hob__db_call_again(call, &connection->db->waiting);
}

/* A commit that failed is the failure of the only call in it; of several, nobody knows whose, so each tries again. */
static bool aborted(hob_db_connection *connection, hob_db_call *call, size_t calls) {
    if (!connection->sync_error || failed(call->result))
        return PQresultStatus(call->result) == PGRES_PIPELINE_ABORTED;
    if (calls > 1)
        return true;
    PQclear(call->result);
    call->result = connection->sync_error;
    connection->sync_error = NULL;
    return false;
}

static size_t calls_in_group(const hob_db_connection *connection) {
    size_t count = 0;
    for (size_t i = connection->group; i < connection->slot_next; i++)
        count += connection->slots[i].kind == HOB_DB_SLOT_CALL;
    return count;
}

static void settle_group(hob_db_connection *connection) {
    size_t calls = calls_in_group(connection);
    int64_t took = hob__db_elapsed(connection->db, connection->group_began);
    for (size_t i = connection->group; i < connection->slot_next; i++) {
        hob_db_slot *slot = &connection->slots[i];
        if (slot->kind != HOB_DB_SLOT_CALL)
            continue;
        hob__db_statement_ran(slot->statement, took / (int64_t)calls);
        if (slot->call)
            settle(connection, slot->call, aborted(connection, slot->call, calls));
    }
    PQclear(connection->sync_error);
    connection->sync_error = NULL;
    connection->group = ++connection->slot_next;
    connection->group_began = hob__loop_now(connection->db->loop);
}

/* An error without SQLSTATE is libpq's own. */
static bool breaks_connection(const hob_db_connection *connection, const PGresult *result) {
    if (!PQresultErrorField(result, PG_DIAG_SQLSTATE))
        return PQstatus(connection->pg) == CONNECTION_BAD;
    return hob__db_session_ended(result);
}

static void take(hob_db_connection *connection, hob_db_slot *slot, PGresult *result) {
    connection->got = true;
    if (failed(result) || PQresultStatus(result) == PGRES_PIPELINE_ABORTED)
        note_failure(connection, slot, result);
    if (shows_read_only(slot, result))
        hob__db_read_only(connection->db);
    if (slot->kind != HOB_DB_SLOT_SYNC) {
        keep(slot, result);
        return;
    }
    PQclear(connection->sync_error);
    connection->sync_error = result;
}

/* It need not wait for those that it shares its Sync with: no failure of theirs takes back what it has read. */
static bool is_read(const hob_db_call *call) {
    return !call->write && !call->tx && PQresultStatus(call->result) == PGRES_TUPLES_OK;
}

/* libpq gives a NULL behind the results of everything but a Sync. */
static bool end_of_results(hob_db_connection *connection, hob_db_slot *slot) {
    if (!connection->got) {
        hob__db_connection_lose(connection, "results are missing", false);
        return false;
    }
    connection->got = false;
    if (slot->kind == HOB_DB_SLOT_CALL && slot->call && is_read(slot->call)) {
        settle(connection, slot->call, false);
        slot->call = NULL;
    }
    connection->slot_next += slot->kind != HOB_DB_SLOT_SYNC;
    return true;
}

/* COPY, which leaves a pipeline unusable. */
static void refuse_copy(hob_db_connection *connection, hob_db_slot *slot) {
    hob_db_call *call = slot->call;
    if (slot->kind == HOB_DB_SLOT_CALL && call) {
        slot->call = NULL;
        connection->live--;
        hob__db_call_end(call, HOB_OUTCOME_FAILED);
    }
    hob__db_connection_lose(connection, "a result that no query has; COPY cannot be used", false);
}

bool hob__db_batch_result(hob_db_connection *connection, PGresult *result) {
    hob_db_slot *slot = &connection->slots[connection->slot_next];
    if (!result)
        return end_of_results(connection, slot);
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        settle_group(connection);
        return true;
    case PGRES_FATAL_ERROR:
        if (!breaks_connection(connection, result))
            break;
        hob__db_connection_lose(connection, PQresultErrorMessage(result), hob__db_session_ended(result));
        PQclear(result);
        return false;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        PQclear(result);
        refuse_copy(connection, slot);
        return false;
    }
    take(connection, slot, result);
    return true;
}

void hob__db_batch_forget(hob_db_call *call) {
    hob_db_connection *connection = call->connection;
    for (size_t i = connection->group; i < connection->slot_count; i++)
        if (connection->slots[i].call == call)
            connection->slots[i].call = NULL;
    PQclear(call->result);
    call->result = NULL;
    /* A statement that never ends in time must not stay among the quick ones. */
    int64_t so_far = hob__clock_ns() - connection->group_began;
    if (so_far > HOB_DB_QUICK)
        hob__db_statement_ran(call->statement, so_far);
    if (--connection->live == 0)
        hob__db_connection_lose(connection, "nobody waits for its results any more", false);
}
