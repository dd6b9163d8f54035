#include "data/db.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "data/db_private.h"

#define BACKOFF_FIRST (50 * HOB_MS)
#define BACKOFF_MAX (5 * HOB_S)

/* ---- Calls ---- */

hob_outcome hob__db_call_init(hob_db *db, hob_db_call *call, hob_task *task, const hob_query *query,
                              const hob_param *params, size_t count) {
    *call = (hob_db_call){.task = task, .sql = query->sql, .write = query->write};
    hob_outcome outcome = hob__db_encode(task->arena, params, count, &call->params);
    if (outcome == HOB_OUTCOME_GOOD)
        call->statement = hob__db_statement(db, query->sql, &call->params);
    else if (outcome == HOB_OUTCOME_FAILED)
        hob__log(HOB_LOG_ERROR, "database: %zu parameters are too many: %s", count, query->sql);
    return outcome;
}

void hob__db_call_end(hob_db_call *call, hob_outcome outcome) {
    call->state = HOB_DB_DONE;
    call->outcome = outcome;
    hob__task_wake(call->task);
}

void hob__db_call_again(hob_db_call *call, hob_db_calls *queue) {
    PQclear(call->result);
    call->result = NULL;
    call->connection = NULL;
    call->state = HOB_DB_WAITING;
    call->queue = queue;
    TAILQ_INSERT_HEAD(queue, call, link);
    hob__task_wake(call->task); /* it may have less patience now */
}

void hob__db_call_waits_no_longer(hob_db *db, hob_db_call *call) {
    if (call->waits_since)
        db->counters.wait_ns += (uint64_t)(hob__clock_ns() - call->waits_since);
    call->waits_since = 0;
}

/* Its task stops waiting; the connection, if it has one, looks after itself. */
static hob_outcome give_up(hob_db *db, hob_db_call *call, hob_wake wake) {
    bool sent = call->state == HOB_DB_SENT, waited = call->waits_since != 0;
    hob__db_call_waits_no_longer(db, call);
    if (sent)
        hob__db_batch_forget(call);
    else
        TAILQ_REMOVE(call->queue, call, link);
    if (wake == HOB_WAKE_TIMEOUT) {
        db->counters.timeouts++;
        hob__log(HOB_LOG_WARN, "database: given up %s: %s", sent ? "at its deadline" : "before it could be sent",
                 call->sql);
    }
    if (sent && call->commit)
        return HOB_OUTCOME_UNKNOWN;
    if (wake == HOB_WAKE_CANCELLED)
        return HOB_OUTCOME_CANCELLED;
    if (!sent && hob__db_open(db) == 0)
        return HOB_OUTCOME_UNAVAILABLE;
    return waited ? HOB_OUTCOME_NO_FREE_CONNECTION : HOB_OUTCOME_TIMEOUT;
}

/* No deadline of its own: it is over when the task's is, or when the first attempt to connect brought nothing. */
static bool over(const hob_db *db, const hob_db_call *call) {
    return call->task->deadline <= hob__clock_ns() || (call->state == HOB_DB_WAITING && hob__db_open(db) == 0);
}

hob_outcome hob__db_call_run(hob_db *db, hob_db_call *call) {
    call->queue = call->tx ? &call->tx->calls : &db->waiting;
    TAILQ_INSERT_TAIL(call->queue, call, link);
    if (call->tx && call->tx->connection->state == HOB_DB_HELD)
        hob__db_batch_send_tx(call->tx->connection);
    while (call->state != HOB_DB_DONE) {
        int64_t until = call->state == HOB_DB_WAITING ? hob__db_wait_ends(db) : HOB_FOREVER;
        hob_wake wake = hob__task_park(call->task, until);
        if (call->state != HOB_DB_DONE && (wake == HOB_WAKE_CANCELLED || (wake == HOB_WAKE_TIMEOUT && over(db, call))))
            return give_up(db, call, wake);
    }
    return call->outcome;
}

hob_rows *hob__db_query(hob_db *db, hob_task *task, const hob_query *query, const hob_param *params, size_t count) {
    hob_db_call call;
    hob_outcome outcome = hob__db_call_init(db, &call, task, query, params, count);
    if (outcome == HOB_OUTCOME_GOOD && hob__db_unavailable(db)) {
        hob__db_wanted(db);
        outcome = HOB_OUTCOME_UNAVAILABLE;
    } else if (outcome == HOB_OUTCOME_GOOD) {
        outcome = hob__db_call_run(db, &call);
    }
    return hob__db_rows(&call, outcome);
}

/* ---- Which connections there are ---- */

size_t hob__db_open(const hob_db *db) {
    return db->in_state[HOB_DB_IDLE] + db->in_state[HOB_DB_HELD] + db->in_state[HOB_DB_BUSY];
}

size_t hob__db_connecting(const hob_db *db) {
    return db->in_state[HOB_DB_RESOLVING] + db->in_state[HOB_DB_CONNECTING];
}

bool hob__db_unavailable(const hob_db *db) {
    if (hob__db_open(db) > 0)
        return false;
    return db->failures > 0 || (hob__db_connecting(db) > 0 && hob__loop_now(db->loop) >= db->patience_ends);
}

static int64_t patience_from_now(const hob_db *db) {
    return hob__loop_now(db->loop) + (db->config->on_demand ? HOB_DB_PATIENCE_ON_DEMAND : HOB_DB_PATIENCE);
}

int64_t hob__db_wait_ends(const hob_db *db) {
    if (hob__db_open(db) > 0)
        return HOB_FOREVER;
    return hob__db_connecting(db) > 0 ? db->patience_ends : patience_from_now(db);
}

static hob_db_connection *first_in(hob_db *db, hob_db_state state) {
    for (size_t i = 0; db->in_state[state] > 0 && i < db->connection_count; i++)
        if (db->connections[i].state == state)
            return &db->connections[i];
    return NULL;
}

/* Always the first: few connections, but those busy and warm. */
hob_db_connection *hob__db_idle_connection(hob_db *db) {
    for (hob_db_connection *connection; (connection = first_in(db, HOB_DB_IDLE));) {
        bool quiet = hob__db_connection_quiet(connection), replaced = hob__db_connection_outlived(connection);
        if (quiet && !replaced)
            return connection;
        hob__db_connection_lose(connection, quiet ? HOB_DB_TAKES_NO_WRITES : "the server closed it", true);
    }
    return NULL;
}

void hob__db_calls_refuse(hob_db *db, hob_db_calls *queue) {
    for (hob_db_call *call; (call = TAILQ_FIRST(queue));) {
        TAILQ_REMOVE(queue, call, link);
        hob__db_call_waits_no_longer(db, call);
        hob__db_call_end(call, HOB_OUTCOME_UNAVAILABLE);
    }
}

static void requeue_lost(hob_db *db) {
    for (hob_db_call *call; (call = TAILQ_LAST(&db->lost, hob_db_calls));) {
        TAILQ_REMOVE(&db->lost, call, link);
        hob__db_call_again(call, &db->waiting);
    }
}

/* What was lost goes out on this connection, as far as it goes together. */
static void send_lost(hob_db_connection *connection) {
    if (TAILQ_EMPTY(&connection->db->lost))
        return;
    requeue_lost(connection->db);
    hob__db_batch_send(connection);
}

void hob__db_connected(hob_db_connection *connection) {
    hob_db *db = connection->db;
    db->counters.connects++;
    if (db->failures > 0)
        hob__log(HOB_LOG_INFO, "database: connected again");
    db->failures = 0;
    db->reachable = true;
    hob__timer_clear(db->loop, &db->retry);
    hob__db_connection_set(connection, HOB_DB_IDLE);
    send_lost(connection);
}

static int64_t backoff(unsigned failures) {
    int64_t delay = failures < 8 ? BACKOFF_FIRST << (failures - 1) : BACKOFF_MAX;
    delay = (int64_t)((double)delay * hob__jitter(0.25));
    return delay < BACKOFF_MAX ? delay : BACKOFF_MAX;
}

void hob__db_connect_failed(hob_db_connection *connection, const char *why) {
    hob_db *db = connection->db;
    db->counters.connect_failures++;
    hob_text reason = hob__text_trim(hob_text_of(why)); /* libpq ends its lines */
    hob__log(HOB_LOG_WARN, "database: cannot connect: " HOB_FMT, HOB_ARG(reason));
    hob__db_connection_close(connection, HOB_DB_DOWN);
    db->failures++;
    db->retry_at = hob__clock_ns() + backoff(db->failures);
    hob__timer_set(db->loop, &db->retry, db->retry_at);
    if (hob__db_open(db) == 0) {
        db->reachable = false;
        hob__db_calls_refuse(db, &db->lost);
        hob__db_calls_refuse(db, &db->waiting);
        hob__db_begins_refuse(db);
    }
}

void hob__db_wanted(hob_db *db) {
    db->wanted = true;
    if (db->failures > 0 && db->soon < db->retry_at) {
        db->retry_at = db->soon;
        hob__timer_set(db->loop, &db->retry, db->retry_at);
    }
}

static bool second_connects(const hob_db *db) {
    for (size_t i = 0; i < db->connection_count; i++) {
        const hob_db_connection *connection = &db->connections[i];
        if (connection->second && (connection->state == HOB_DB_RESOLVING || connection->state == HOB_DB_CONNECTING))
            return true;
    }
    return false;
}

/* While it is not known to answer, the server is asked by one connection at a time; or by a second beside those under
 * way when somebody asks and they have not had an answer for some time: what swallowed them may let this one pass. */
static bool may_connect(const hob_db *db) {
    int64_t now = hob__loop_now(db->loop);
    if (db->failures == 0 && hob__db_open(db) > 0)
        return true;
    if (db->failures > 0 && now < db->retry_at)
        return false;
    return hob__db_connecting(db) == 0 || (db->wanted && now >= db->soon && !second_connects(db));
}

static void open_wanted(hob_db *db) {
    for (hob_db_connection *connection; may_connect(db) && (connection = first_in(db, HOB_DB_DOWN));) {
        connection->second = hob__db_open(db) == 0 && hob__db_connecting(db) > 0;
        if (hob__db_open(db) == 0 && !connection->second)
            db->patience_ends = patience_from_now(db);
        db->soon = hob__loop_now(db->loop) + (int64_t)((double)HOB_DB_SOON * hob__jitter(0.25));
        hob__db_connection_start(connection);
    }
}

static bool somebody_waits(const hob_db *db) {
    return !TAILQ_EMPTY(&db->waiting) || !TAILQ_EMPTY(&db->begins);
}

/* On demand, one that is busy is free again before another could be open. */
static bool keeps_up(const hob_db *db) {
    return db->config->on_demand && db->held < hob__db_open(db);
}

/* One more connection when those there are do not keep up; fewer when more idle than may. */
static void resize(hob_db *db) {
    hob_db_connection *closed;
    if (somebody_waits(db)) {
        if (!keeps_up(db) && hob__db_connecting(db) == 0 && db->in_state[HOB_DB_DOWN] == 0 &&
            (closed = first_in(db, HOB_DB_CLOSED)))
            hob__db_connection_set(closed, HOB_DB_DOWN);
        return;
    }
    for (size_t i = db->connection_count; db->in_state[HOB_DB_IDLE] > (size_t)db->config->db_max_idle && i-- > 0;) {
        if (db->connections[i].state == HOB_DB_IDLE) {
            db->counters.closed_max_idle++;
            hob__db_connection_close(&db->connections[i], HOB_DB_CLOSED);
        }
    }
}

/* A new connection may lead to another server. The young stay for a while: if there is no other, they were opened for
 * nothing. */
void hob__db_read_only(hob_db *db) {
    for (size_t i = 0; i < db->connection_count; i++) {
        hob_db_connection *connection = &db->connections[i];
        connection->read_only = connection->pg != NULL;
        if (connection->state == HOB_DB_IDLE && hob__db_connection_outlived(connection))
            hob__db_connection_lose(connection, HOB_DB_TAKES_NO_WRITES, true);
    }
}

/* ---- Turns ---- */

/* Those that came last in this turn are at the end. */
static void count_waits(hob_db *db) {
    int64_t now = TAILQ_EMPTY(&db->waiting) ? 0 : hob__clock_ns();
    for (hob_db_call *call = TAILQ_LAST(&db->waiting, hob_db_calls); call && !call->waits_since;
         call = TAILQ_PREV(call, hob_db_calls, link)) {
        call->waits_since = now;
        db->counters.waits++;
    }
}

static void on_turn(hob_turn_hook *hook) {
    hob_db *db = hob__container_of(hook, hob_db, hook);
    if (db->closing)
        return;
    if (db->failures > 0 && hob__db_open(db) > 0)
        requeue_lost(db); /* a new connection may take long */
    hob__db_begins_serve(db);
    for (hob_db_connection *connection; !TAILQ_EMPTY(&db->waiting) && (connection = hob__db_idle_connection(db));)
        hob__db_batch_send(connection);
    count_waits(db);
    resize(db);
    open_wanted(db);
    db->wanted = false;
    db->turn_began = hob__loop_now(db->loop);
    db->turn_ended = hob__clock_ns();
}

/* An answer that is there when a turn begins may have come any time since the one before looked: while that one was at
 * work, or while this one waited. Work of our own is not the server's time. */
int64_t hob__db_elapsed(const hob_db *db, int64_t since) {
    int64_t began = db->turn_began > since ? db->turn_began : since;
    int64_t own = db->turn_ended > began ? db->turn_ended - began : 0;
    int64_t elapsed = hob__loop_now(db->loop) - since - own;
    return elapsed > 0 ? elapsed : 0;
}

static void on_retry(hob_timer *timer) {
    (void)timer; /* the hook of this turn connects */
}

/* ---- The whole ---- */

static void set_timeout(char text[24], int64_t ns) {
    int64_t ms = ns / HOB_MS + (ns % HOB_MS != 0);
    snprintf(text, 24, "%" PRId64, ms < INT32_MAX ? ms : INT32_MAX);
}

hob_db *hob__db_new(hob_loop *loop, hob_offload_pool *offload, const hob_config *config, const char *application_name) {
    size_t count = (size_t)config->db_max_open;
    size_t warm = config->db_max_idle < config->db_max_open ? (size_t)config->db_max_idle : count;
    size_t at_once = config->on_demand ? 0 : warm > 0 ? warm : 1; /* one in any case, to see whether it is there */
    hob_db *db = calloc(1, sizeof *db + count * sizeof db->connections[0]);
    if (!db)
        return NULL;
    *db = (hob_db){.loop = loop, .offload = offload, .config = config, .connection_count = count};
    snprintf(db->application_name, sizeof db->application_name, "%s", application_name);
    set_timeout(db->statement_timeout, config->db_statement_timeout);
    set_timeout(db->lock_timeout, config->db_lock_timeout);
    TAILQ_INIT(&db->waiting);
    TAILQ_INIT(&db->lost);
    TAILQ_INIT(&db->begins);
    for (size_t i = 0; i < count; i++) {
        hob_db_state state = i < at_once ? HOB_DB_DOWN : HOB_DB_CLOSED;
        db->connections[i] = (hob_db_connection){.db = db, .index = i, .state = state};
        db->in_state[state]++;
    }
    db->retry.on_expire = on_retry;
    db->hook.on_turn = on_turn;
    hob__loop_hook(loop, &db->hook);
    hob__db_conninfo_export_service(config->database_url);
    open_wanted(db);
    return db;
}

/* A look-up under way cannot be called back: the loop turns until it is over. */
void hob__db_free(hob_db *db) {
    db->closing = true;
    while (db->in_state[HOB_DB_RESOLVING] > 0)
        hob__loop_turn(db->loop, HOB_FOREVER);
    for (size_t i = 0; i < db->connection_count; i++)
        hob__db_connection_close(&db->connections[i], HOB_DB_CLOSED);
    hob__timer_clear(db->loop, &db->retry);
    hob__loop_unhook(db->loop, &db->hook);
    hob__db_statements_free(db);
    hob__db_conninfo_free(db->place);
    free(db);
}

bool hob__db_up(const hob_db *db) {
    return db->reachable && !hob__db_unavailable(db);
}

bool hob__db_reach(hob_db *db, hob_task *task) {
    hob_outcome outcome;
    hob_db_tx_state *tx = db->config->on_demand ? hob__db_begin(db, task, (hob_tx_options){0}, &outcome) : NULL;
    if (tx) /* asks nothing, and so costs nothing but the connection */
        hob__db_rollback(tx);
    return hob__db_up(db);
}

const hob_db_counters *hob__db_counters(const hob_db *db) {
    return &db->counters;
}

hob_db_pool hob__db_pool(const hob_db *db) {
    return (hob_db_pool){.max_open = db->connection_count,
                         .open = hob__db_open(db),
                         .in_use = db->in_state[HOB_DB_HELD] + db->in_state[HOB_DB_BUSY],
                         .idle = db->in_state[HOB_DB_IDLE]};
}
