/*
 * What the db_*.c files share.
 *
 *   db.c             the pool: waiting calls, which connections to open and close
 *   db_connection.c  one connection, from connect to close
 *   db_conninfo.c    where and how to connect
 *   db_batch.c       what goes out together, and the results that come back
 *   db_statement.c   the statements known, how long they run, where they are prepared
 *   db_params.c      parameters in PostgreSQL's binary format
 *   db_outcome.c     results and SQLSTATEs as outcomes
 *   db_tx.c          transactions
 */
#ifndef HOB_DATA_DB_PRIVATE_H
#define HOB_DATA_DB_PRIVATE_H

#include <libpq-fe.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "data/db.h"
#include "run/loop.h"

#ifndef HOB_DB_BATCH /* 1, to measure what batches bring */
#define HOB_DB_BATCH 32
#endif
#define HOB_DB_BATCH_TIME (10 * HOB_MS) /* a batch that is expected to run this long is full */
#define HOB_DB_QUICK (2 * HOB_MS)       /* statements that run longer are not batched with others */
#define HOB_DB_STATEMENTS 1024          /* known at most; what comes beyond runs unprepared and alone */
#define HOB_DB_PARAMS 65535             /* PostgreSQL's own limit */
#define HOB_DB_CONNECT_TIME (5 * HOB_S)
#define HOB_DB_READ_ONLY_AGE HOB_S            /* younger connections are not replaced when the server takes no writes */
#define HOB_DB_PATIENCE HOB_S                 /* how long calls wait for a first attempt to connect */
#define HOB_DB_PATIENCE_ON_DEMAND (3 * HOB_S) /* the same on demand (CGI), where no request came before to connect */
#define HOB_DB_PATIENCE_AGAIN (250 * HOB_MS)  /* and for one that is under way when the last connection is lost */
/* While requests are refused: between attempts to connect, and how long a second one beside the first may take. */
#define HOB_DB_SOON (500 * HOB_MS)

typedef struct hob_db_connection hob_db_connection;
typedef struct hob_db_statement hob_db_statement;

/* ---- Parameters and statements ---- */

typedef struct hob_db_params {
    int count;
    Oid *types; /* 0: the server infers it */
    const char **values;
    int *lengths, *formats;
} hob_db_params;

/* In the arena. GOOD, BAD_TEXT, NO_MEMORY, or FAILED: too many. */
hob_outcome hob__db_encode(hob_arena *arena, const hob_param *params, size_t count, hob_db_params *out) HOB_MUST_CHECK;

struct hob_db_statement {
    hob_db_statement *next; /* in its bucket */
    uint64_t hash;
    char *sql;
    Oid *types;
    int param_count;
    int64_t average;     /* running time, ns; -1: not seen yet */
    uint32_t id;         /* name and generation are its name at the server */
    uint32_t generation; /* from 1; a new one when the server no longer takes the old */
    uint32_t prepared[]; /* by connection: the generation that is prepared there; 0: none */
};

#define HOB_DB_STATEMENT_NAME 32

/* NULL: there are too many already, or memory ran out; the call then goes unprepared. */
hob_db_statement *hob__db_statement(hob_db *db, const char *sql, const hob_db_params *params);
void hob__db_statement_name(const hob_db_statement *statement, char name[HOB_DB_STATEMENT_NAME]);
void hob__db_statement_ran(hob_db_statement *statement, int64_t ns);             /* NULL is fine */
bool hob__db_statement_quick(const hob_db_statement *statement);                 /* NULL is not */
void hob__db_statements_forget(hob_db *db, const hob_db_connection *connection); /* none is prepared there any more */
void hob__db_statements_free(hob_db *db);

/* ---- Calls: one query of one task, in that task's memory ---- */

typedef struct hob_db_call hob_db_call;
typedef TAILQ_HEAD(hob_db_calls, hob_db_call) hob_db_calls;

struct hob_db_call {
    TAILQ_ENTRY(hob_db_call) link;
    hob_db_calls *queue; /* while WAITING */
    hob_task *task;
    const char *sql;
    hob_db_statement *statement;
    hob_db_params params;
    hob_db_tx_state *tx;           /* NULL: outside of transactions */
    hob_db_connection *connection; /* while SENT */
    PGresult *result;
    hob_outcome outcome; /* once DONE without a result */
    enum {
        HOB_DB_WAITING, /* in db->waiting, db->lost or its transaction's calls -> SENT, DONE */
        HOB_DB_SENT,    /* in slots of its connection -> DONE, WAITING (to be sent again) */
        HOB_DB_DONE     /* nobody but its task knows it */
    } state;
    bool write;
    bool commit;         /* COMMIT itself, or travels with it */
    bool last;           /* COMMIT travels with it */
    bool alone;          /* under a Sync of its own: it was aborted by another's failure */
    bool lost;           /* was sent on a connection that broke */
    bool reprepared;     /* was sent with a plan that had gone stale */
    int64_t waits_since; /* found no idle connection then; 0: did not have to wait */
};

typedef TAILQ_HEAD(hob_db_transactions, hob_db_tx_state) hob_db_transactions;

void hob__db_call_end(hob_db_call *call, hob_outcome outcome);   /* DONE; wakes its task */
void hob__db_call_again(hob_db_call *call, hob_db_calls *queue); /* WAITING, before all others */
void hob__db_calls_refuse(hob_db *db, hob_db_calls *queue);      /* UNAVAILABLE, all of them */
void hob__db_call_waits_no_longer(hob_db *db, hob_db_call *call);
/* Enqueues and waits; the call is DONE, or forgotten by all, when it returns. */
hob_outcome hob__db_call_run(hob_db *db, hob_db_call *call) HOB_MUST_CHECK;
/* Fills a call; GOOD, or why it can't be sent. */
hob_outcome hob__db_call_init(hob_db *db, hob_db_call *call, hob_task *task, const hob_query *query,
                              const hob_param *params, size_t count) HOB_MUST_CHECK;

/* ---- Connections ---- */

typedef enum hob_db_state {
    HOB_DB_CLOSED,     /* nobody wants it -> DOWN when calls wait */
    HOB_DB_DOWN,       /* wanted -> RESOLVING or CONNECTING, when the back-off allows it */
    HOB_DB_RESOLVING,  /* a service task looks up its hosts -> CONNECTING, DOWN */
    HOB_DB_CONNECTING, /* -> IDLE, DOWN */
    HOB_DB_IDLE,       /* -> BUSY, HELD, DOWN, CLOSED */
    HOB_DB_HELD,       /* by a transaction that asks nothing at the moment -> BUSY, IDLE, DOWN */
    HOB_DB_BUSY,       /* a batch is under way -> IDLE, HELD, DOWN */
    HOB_DB_STATES
} hob_db_state;

typedef enum hob_db_slot_kind {
    HOB_DB_SLOT_FRAME, /* what stands around a call: BEGIN, its timeouts, COMMIT */
    HOB_DB_SLOT_PREPARE,
    HOB_DB_SLOT_CALL,
    HOB_DB_SLOT_SYNC
} hob_db_slot_kind;

/* What a result will be for, in the order of sending. */
typedef struct hob_db_slot {
    hob_db_slot_kind kind;
    hob_db_call *call; /* of FRAME and PREPARE: the call they are for; NULL: nobody waits (any more) */
    hob_db_statement *statement;
    uint32_t generation;
} hob_db_slot;

#define HOB_DB_SLOTS                                                                                                   \
    (4 * HOB_DB_BATCH + 3) /* frame, Prepare, call and Sync for each; BEGIN; COMMIT's Prepare, COMMIT */

struct hob_db_connection {
    hob_db *db;
    size_t index; /* in db->connections, where all of them are, whatever their state */
    hob_db_state state;
    PGconn *pg;
    hob_watch watch;
    uint32_t watched; /* events; 0: not watched */
    hob_timer timer;  /* connect time; then idle time, lifetime */
    hob_task task;    /* while RESOLVING */
    struct hob_db_conninfo *info;
    hob_db_tx_state *tx; /* that holds it */
    bool second;         /* is tried beside others that have no answer yet, and not for long */
    int64_t opened, idle_since, idle_time, expires;
    bool read_only; /* a server took no writes: this one's may be the wrong one by now */
    /* the batch under way */
    hob_db_slot slots[HOB_DB_SLOTS];
    size_t slot_count, slot_next;
    size_t group;         /* first slot that the next Sync will settle */
    int64_t group_began;  /* when the server could begin with it */
    size_t live;          /* calls in it that somebody waits for */
    bool got;             /* a result of slot_next; its end is still to come */
    bool rolls_back;      /* it is a ROLLBACK */
    PGresult *sync_error; /* what went wrong at the implicit commit */
};

void hob__db_connection_start(hob_db_connection *connection);
bool hob__db_connection_quiet(const hob_db_connection *connection); /* the server has not said anything unasked */
#define HOB_DB_TAKES_NO_WRITES "its server takes no writes"
bool hob__db_connection_outlived(const hob_db_connection *connection); /* its server takes no writes: to be replaced */
/* Its batch or transaction is over: HELD, IDLE or closed. */
void hob__db_connection_rest(hob_db_connection *connection);
/* Gives its calls back and closes it, to be opened again. said: the server told us that it ends the session, so what it
 * had not confirmed was not done. */
void hob__db_connection_lose(hob_db_connection *connection, const char *why, bool said);
void hob__db_connection_close(hob_db_connection *connection, hob_db_state next); /* CLOSED or DOWN */
void hob__db_connection_set(hob_db_connection *connection, hob_db_state state);
/* Sends what libpq holds and watches for what comes; false: lost. */
bool hob__db_connection_flush(hob_db_connection *connection);

void hob__db_conninfo_export_service(const char *url); /* before any thread starts: it changes the environment */
struct hob_db_conninfo *hob__db_conninfo_new(const hob_db *db) HOB_MUST_CHECK; /* NULL: bad DATABASE_URL, no memory */
bool hob__db_conninfo_has_names(struct hob_db_conninfo *info);
/* false: none of the hosts has an address. */
bool hob__db_conninfo_resolve(struct hob_db_conninfo *info, hob_offload_pool *pool, hob_task *task) HOB_MUST_CHECK;
PGconn *hob__db_conninfo_connect(const struct hob_db_conninfo *info) HOB_MUST_CHECK; /* begins to; NULL: no memory */
void hob__db_conninfo_free(struct hob_db_conninfo *info);

/* ---- Batches ---- */

void hob__db_batch_send(hob_db_connection *connection);    /* of db->waiting, to an idle connection; at least one */
void hob__db_batch_send_tx(hob_db_connection *connection); /* the calls of its transaction */
void hob__db_batch_send_rollback(hob_db_connection *connection);
/* Takes result; false: the connection is lost. */
bool hob__db_batch_result(hob_db_connection *connection, PGresult *result) HOB_MUST_CHECK;
void hob__db_batch_forget(hob_db_call *call); /* of a SENT call: its task waits no longer */

/* ---- Results ---- */

hob_outcome hob__db_classify(const char *sqlstate); /* NULL: none */
bool hob__db_stale_plan(const PGresult *result);    /* it must be prepared anew */
bool hob__db_refused_write(const PGresult *result); /* the session or its transaction is read-only */
bool hob__db_session_ended(const PGresult *result); /* the server's last word on this connection */
/* Takes the call's result, if any, into rows of the task's arena; logs what nobody but the log is told. */
hob_rows *hob__db_rows(hob_db_call *call, hob_outcome outcome) HOB_MUST_CHECK;

/* ---- Transactions ---- */

struct hob_db_tx_state {
    TAILQ_ENTRY(hob_db_tx_state) link; /* in db->begins while it waits for a connection */
    hob_db *db;
    hob_task *task;
    hob_tx_options options;
    hob_db_connection *connection; /* NULL: not yet, or lost */
    hob_db_calls calls;            /* not sent yet */
    hob_outcome outcome;
    bool queued, begun;
    bool over; /* COMMIT was sent with its last statement */
};
#define HOB_DB_COMMIT "COMMIT"

const char *hob__db_begin_sql(hob_tx_options options);
void hob__db_begins_serve(hob_db *db); /* gives idle connections to the transactions that wait for one */
void hob__db_begins_refuse(hob_db *db);
void hob__db_tx_detach(hob_db_tx_state *tx); /* from its connection; it finds out with its next statement */

/* ---- The pool ---- */

#define HOB_DB_BUCKETS 512

struct hob_db {
    hob_loop *loop;
    hob_offload_pool *offload;
    const hob_config *config;
    char application_name[64];                    /* NAMEDATALEN */
    char statement_timeout[24], lock_timeout[24]; /* milliseconds */
    hob_turn_hook hook;
    int64_t turn_began, turn_ended; /* of the turn before this one */
    hob_db_calls waiting;
    hob_db_calls lost; /* reads whose connection broke: others may be about to, so they wait for one that is new */
    hob_db_transactions begins;
    size_t in_state[HOB_DB_STATES];
    size_t held;    /* connections that belong to a transaction, HELD or BUSY */
    bool reachable; /* as the last attempt to connect found; a server that left since is found out by the next */
    bool closing;
    unsigned failures; /* to connect, one after the other */
    int64_t retry_at, patience_ends;
    int64_t soon; /* the earliest next attempt when somebody asks */
    bool wanted;  /* somebody was refused in this turn */
    hob_timer retry;
    struct hob_db_conninfo *place; /* where it was last sought; NULL: no name has had an address yet */
    hob_db_statement *statements[HOB_DB_BUCKETS];
    uint32_t statement_count;
    hob_db_counters counters;
    size_t connection_count;
    hob_db_connection connections[];
};

size_t hob__db_open(const hob_db *db); /* connections */
size_t hob__db_connecting(const hob_db *db);
hob_db_connection *hob__db_idle_connection(hob_db *db); /* a sound one; NULL: none */
bool hob__db_unavailable(const hob_db *db);             /* no use waiting */
void hob__db_wanted(hob_db *db);             /* somebody is refused: it is asked again sooner than the back-off says */
void hob__db_read_only(hob_db *db);          /* a server refused a write: connections of some age are replaced */
int64_t hob__db_wait_ends(const hob_db *db); /* for a call that is not sent: when to look again whether it is */
void hob__db_connected(hob_db_connection *connection); /* IDLE */
void hob__db_connect_failed(hob_db_connection *connection, const char *why);
int64_t hob__db_elapsed(const hob_db *db, int64_t since); /* time that the server took, as of this turn's events */

#endif
