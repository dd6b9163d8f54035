#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "data/db_private.h"

#define JITTER 0.1

static hob_db_connection *of_watch(hob_watch *watch) {
    return hob__container_of(watch, hob_db_connection, watch);
}

static hob_db_connection *of_timer(hob_timer *timer) {
    return hob__container_of(timer, hob_db_connection, timer);
}

void hob__db_connection_set(hob_db_connection *connection, hob_db_state state) {
    hob_db *db = connection->db;
    bool open = hob__db_open(db) > 0;
    db->in_state[connection->state]--;
    db->in_state[state]++;
    connection->state = state;
    if (open && hob__db_open(db) == 0) /* another may be connecting since a time when nobody had to wait for it */
        db->patience_ends = hob__loop_now(db->loop) + HOB_DB_PATIENCE_AGAIN;
}

/* ---- Watching ---- */

static void unwatch(hob_db_connection *connection) {
    if (connection->watched)
        hob__loop_unwatch(connection->db->loop, &connection->watch);
    connection->watched = 0;
}

static bool watch(hob_db_connection *connection, uint32_t events) {
    hob_loop *loop = connection->db->loop;
    if (connection->watched == events)
        return true;
    connection->watch.fd = PQsocket(connection->pg);
    bool done = connection->watched ? hob__loop_rewatch(loop, &connection->watch, events)
                                    : hob__loop_watch(loop, &connection->watch, events);
    if (done)
        connection->watched = events;
    return done;
}

/* ---- Closing ---- */

void hob__db_connection_close(hob_db_connection *connection, hob_db_state next) {
    hob_db *db = connection->db;
    if (connection->tx)
        hob__db_tx_detach(connection->tx);
    hob__timer_clear(db->loop, &connection->timer);
    unwatch(connection);
    hob__db_conninfo_free(connection->info);
    connection->info = NULL;
    PQclear(connection->sync_error);
    connection->sync_error = NULL;
    PQfinish(connection->pg);
    connection->pg = NULL;
    connection->slot_count = connection->slot_next = connection->group = connection->live = 0;
    connection->got = connection->read_only = false;
    hob__db_statements_forget(db, connection);
    hob__db_connection_set(connection, next);
}

/* A write whose result is here may have been committed, too, whatever the server said then. */
static void give_back(hob_db_connection *connection, hob_db_call *call, bool said) {
    bool unsure = !said || call->result;
    PQclear(call->result);
    call->result = NULL;
    if (call->commit || (call->write && !call->tx && unsure)) {
        hob__db_call_end(call, HOB_OUTCOME_UNKNOWN);
    } else if (call->write || call->tx || call->lost) {
        hob__db_call_end(call, HOB_OUTCOME_UNAVAILABLE);
    } else {
        call->lost = true;
        connection->db->counters.retries++;
        hob__db_call_again(call, &connection->db->lost);
    }
}

void hob__db_connection_lose(hob_db_connection *connection, const char *why, bool said) {
    hob_db *db = connection->db;
    db->counters.lost++;
    hob_text reason = hob__text_trim(hob_text_of(why)); /* libpq ends its lines */
    hob__log(HOB_LOG_WARN, "database: connection %zu dropped: " HOB_FMT, connection->index, HOB_ARG(reason));
    /* The last first: each is put before all others. */
    for (size_t i = connection->slot_count; i-- > connection->group;) {
        hob_db_slot *slot = &connection->slots[i];
        if (slot->kind == HOB_DB_SLOT_CALL && slot->call)
            give_back(connection, slot->call, said);
    }
    hob__db_connection_close(connection, HOB_DB_DOWN);
}

/* ---- Idling ---- */

bool hob__db_connection_quiet(const hob_db_connection *connection) {
    char byte;
    return recv(PQsocket(connection->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

bool hob__db_connection_outlived(const hob_db_connection *connection) {
    return connection->read_only && hob__loop_now(connection->db->loop) - connection->opened > HOB_DB_READ_ONLY_AGE;
}

static void expire(hob_db_connection *connection) {
    connection->db->counters.closed_lifetime++;
    hob__db_connection_close(connection, HOB_DB_DOWN);
}

void hob__db_connection_rest(hob_db_connection *connection) {
    hob_db *db = connection->db;
    if (connection->tx) {
        hob__db_connection_set(connection, HOB_DB_HELD);
        if (!TAILQ_EMPTY(&connection->tx->calls))
            hob__db_batch_send_tx(connection);
        return;
    }
    if (PQtransactionStatus(connection->pg) != PQTRANS_IDLE) {
        hob__db_connection_lose(connection, "it was left inside a transaction", false);
        return;
    }
    if (hob__db_connection_outlived(connection)) {
        hob__db_connection_lose(connection, HOB_DB_TAKES_NO_WRITES, true);
        return;
    }
    connection->idle_since = hob__loop_now(db->loop);
    hob__db_connection_set(connection, HOB_DB_IDLE);
    if (connection->idle_since >= connection->expires)
        expire(connection);
}

/* The earliest time at which the connection could be too old or too long idle. */
static int64_t next_check(const hob_db_connection *connection) {
    int64_t idle_ends = connection->idle_time ? connection->idle_since + connection->idle_time : HOB_FOREVER;
    return idle_ends < connection->expires ? idle_ends : connection->expires;
}

/* A busy connection is looked at again much later: when it comes to rest its age is checked anyway. */
static void check_age(hob_db_connection *connection) {
    hob_db *db = connection->db;
    int64_t now = hob__loop_now(db->loop);
    if (connection->state != HOB_DB_IDLE) {
        if (connection->idle_time)
            hob__timer_set(db->loop, &connection->timer, now + connection->idle_time);
    } else if (now >= connection->expires) {
        expire(connection);
    } else if (next_check(connection) > now) {
        if (next_check(connection) != HOB_FOREVER)
            hob__timer_set(db->loop, &connection->timer, next_check(connection));
    } else {
        db->counters.closed_idle_time++;
        hob__db_connection_close(connection, HOB_DB_CLOSED);
    }
}

static void on_timer(hob_timer *timer) {
    hob_db_connection *connection = of_timer(timer);
    if (connection->state == HOB_DB_CONNECTING)
        hob__db_connect_failed(connection, "no answer");
    else if (connection->state == HOB_DB_BUSY && connection->rolls_back)
        hob__db_connection_lose(connection, "ROLLBACK was not answered", false);
    else
        check_age(connection);
}

/* ---- Talking ---- */

bool hob__db_connection_flush(hob_db_connection *connection) {
    int left = PQflush(connection->pg);
    if (left >= 0 && watch(connection, EPOLLIN | (left ? EPOLLOUT : 0)))
        return true;
    hob__db_connection_lose(connection, left < 0 ? PQerrorMessage(connection->pg) : strerror(errno), false);
    return false;
}

/* Results that came before the connection broke still count. PQgetResult is asked only for what is there: it would
 * wait. */
static void receive(hob_db_connection *connection) {
    bool sound = PQconsumeInput(connection->pg);
    while (connection->slot_next < connection->slot_count && !PQisBusy(connection->pg))
        if (!hob__db_batch_result(connection, PQgetResult(connection->pg)))
            return;
    if (!sound || PQstatus(connection->pg) == CONNECTION_BAD)
        hob__db_connection_lose(connection, PQerrorMessage(connection->pg), false);
    else if (hob__db_connection_flush(connection) && connection->slot_next == connection->slot_count)
        hob__db_connection_rest(connection);
}

static void connect_step(hob_db_connection *connection);

static void on_event(hob_watch *watch, uint32_t events) {
    hob_db_connection *connection = of_watch(watch);
    (void)events;
    if (connection->state == HOB_DB_CONNECTING)
        connect_step(connection);
    else if (connection->state == HOB_DB_BUSY)
        receive(connection);
    else if (!hob__db_connection_quiet(connection))
        hob__db_connection_lose(connection, "the server closed it", true);
}

/* ---- Connecting ---- */

static void on_notice(void *arg, const PGresult *result) {
    (void)arg;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    hob__log(HOB_LOG_DEBUG, "database: notice: %s", message ? message : "");
}

static void connected(hob_db_connection *connection) {
    const hob_config *config = connection->db->config;
    int64_t now = hob__loop_now(connection->db->loop);
    if (PQsetnonblocking(connection->pg, 1) != 0 || !PQenterPipelineMode(connection->pg) ||
        !watch(connection, EPOLLIN)) {
        hob__db_connect_failed(connection, "it cannot be used without blocking");
        return;
    }
    PQsetNoticeReceiver(connection->pg, on_notice, NULL);
    connection->idle_time = (int64_t)((double)config->db_conn_idle_time * hob__jitter(JITTER));
    connection->expires = HOB_FOREVER;
    if (config->db_conn_lifetime)
        connection->expires = now + (int64_t)((double)config->db_conn_lifetime * hob__jitter(JITTER));
    connection->opened = connection->idle_since = now;
    connection->read_only = false;
    hob__timer_clear(connection->db->loop, &connection->timer);
    if (next_check(connection) != HOB_FOREVER)
        hob__timer_set(connection->db->loop, &connection->timer, next_check(connection));
    hob__db_connected(connection);
}

static void wait_to_connect(hob_db_connection *connection, uint32_t events) {
    if (!watch(connection, events))
        hob__db_connect_failed(connection, strerror(errno));
}

/* libpq may open another socket between two steps, with the old one's number even: each step is watched anew. */
static void connect_step(hob_db_connection *connection) {
    unwatch(connection);
    switch (PQconnectPoll(connection->pg)) {
    case PGRES_POLLING_READING:
        wait_to_connect(connection, EPOLLIN);
        break;
    case PGRES_POLLING_WRITING:
        wait_to_connect(connection, EPOLLOUT);
        break;
    case PGRES_POLLING_OK:
        connected(connection);
        break;
    default:
        hob__db_connect_failed(connection, PQerrorMessage(connection->pg));
    }
}

static void connect_begin(hob_db_connection *connection) {
    hob_db *db = connection->db;
    hob__db_connection_set(connection, HOB_DB_CONNECTING);
    connection->pg = hob__db_conninfo_connect(db->place);
    if (!connection->pg || PQstatus(connection->pg) == CONNECTION_BAD) {
        hob__db_connect_failed(connection, connection->pg ? PQerrorMessage(connection->pg) : "out of memory");
        return;
    }
    int64_t may_take = connection->second ? HOB_DB_SOON : HOB_DB_CONNECT_TIME;
    hob__timer_set(db->loop, &connection->timer, hob__clock_ns() + may_take);
    wait_to_connect(connection, EPOLLOUT);
}

static void connect_to_info(hob_db_connection *connection) {
    hob__db_conninfo_free(connection->db->place);
    connection->db->place = connection->info;
    connection->info = NULL;
    connect_begin(connection);
}

static void resolve(hob_task *task) {
    hob_db_connection *connection = hob__container_of(task, hob_db_connection, task);
    if (hob__db_conninfo_resolve(connection->info, connection->db->offload, task))
        connect_to_info(connection);
    else
        hob__db_connect_failed(connection, "its host has no address");
}

void hob__db_connection_start(hob_db_connection *connection) {
    hob_db *db = connection->db;
    connection->timer.on_expire = on_timer;
    connection->watch.on_event = on_event;
    if (db->place && connection->second && db->in_state[HOB_DB_RESOLVING] > 0) { /* it may be where it was */
        connect_begin(connection);
        return;
    }
    hob__db_connection_set(connection, HOB_DB_RESOLVING);
    connection->info = hob__db_conninfo_new(db);
    if (!connection->info) {
        hob__db_connect_failed(connection, "DATABASE_URL is no connection string of libpq, or memory ran out");
    } else if (!hob__db_conninfo_has_names(connection->info)) {
        connect_to_info(connection);
    } else {
        connection->task = (hob_task){.loop = db->loop, .deadline = HOB_FOREVER};
        if (!hob__task_start(&connection->task, resolve))
            hob__db_connect_failed(connection, "no fiber to look up its host");
    }
}
