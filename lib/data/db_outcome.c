#include <string.h>

#include "base/log.h"
#include "data/db_private.h"

/* By SQLSTATE or its beginning, the more special first (PostgreSQL, appendix A). */
static const struct {
    const char *prefix;
    hob_outcome outcome;
} CLASSES[] = {
    {"23505", HOB_OUTCOME_UNIQUE},        /* unique_violation */
    {"23503", HOB_OUTCOME_FOREIGN_KEY},   /* foreign_key_violation */
    {"23514", HOB_OUTCOME_CHECK},         /* check_violation */
    {"22021", HOB_OUTCOME_BAD_TEXT},      /* character_not_in_repertoire */
    {"22P05", HOB_OUTCOME_BAD_TEXT},      /* untranslatable_character */
    {"22", HOB_OUTCOME_CHECK},            /* data exceptions */
    {"25006", HOB_OUTCOME_UNAVAILABLE},   /* read_only_sql_transaction: not the primary, or not any more */
    {"40001", HOB_OUTCOME_SERIALIZATION}, /* serialization_failure */
    {"40P01", HOB_OUTCOME_SERIALIZATION}, /* deadlock_detected */
    {"57014", HOB_OUTCOME_TIMEOUT},       /* query_canceled: statement_timeout */
    {"55P03", HOB_OUTCOME_TIMEOUT},       /* lock_not_available: lock_timeout */
    {"57P01", HOB_OUTCOME_UNAVAILABLE},   /* admin_shutdown */
    {"57P02", HOB_OUTCOME_UNAVAILABLE},   /* crash_shutdown */
    {"57P03", HOB_OUTCOME_UNAVAILABLE},   /* cannot_connect_now */
    {"08", HOB_OUTCOME_UNAVAILABLE},      /* connection exceptions */
};

hob_outcome hob__db_classify(const char *sqlstate) {
    for (size_t i = 0; sqlstate && i < sizeof CLASSES / sizeof CLASSES[0]; i++)
        if (strncmp(sqlstate, CLASSES[i].prefix, strlen(CLASSES[i].prefix)) == 0)
            return CLASSES[i].outcome;
    return HOB_OUTCOME_FAILED;
}

static bool field_is(const PGresult *result, int field, const char *expected) {
    const char *value = PQresultErrorField(result, field);
    return value && strcmp(value, expected) == 0;
}

/* 0A000 is any feature that is not supported; only where the server says which function of it refused, the two can be
 * told apart. */
bool hob__db_stale_plan(const PGresult *result) {
    if (field_is(result, PG_DIAG_SQLSTATE, "26000"))
        return true;
    return field_is(result, PG_DIAG_SQLSTATE, "0A000") &&
           (!PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION) ||
            field_is(result, PG_DIAG_SOURCE_FUNCTION, "RevalidateCachedQuery"));
}

bool hob__db_refused_write(const PGresult *result) {
    return field_is(result, PG_DIAG_SQLSTATE, "25006");
}

/* By severity where it is told: a foreign server's 08001 does not end our session. */
bool hob__db_session_ended(const PGresult *result) {
    if (PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED))
        return field_is(result, PG_DIAG_SEVERITY_NONLOCALIZED, "FATAL") ||
               field_is(result, PG_DIAG_SEVERITY_NONLOCALIZED, "PANIC");
    return hob__db_classify(PQresultErrorField(result, PG_DIAG_SQLSTATE)) == HOB_OUTCOME_UNAVAILABLE;
}

/* What a client can bring about is no news; the rest is for whoever runs the service. */
static hob_log_level level_of(hob_outcome outcome) {
    switch (outcome) {
    case HOB_OUTCOME_FAILED:
        return HOB_LOG_ERROR;
    case HOB_OUTCOME_TIMEOUT:
        return HOB_LOG_WARN;
    default:
        return HOB_LOG_DEBUG;
    }
}

/* Without DETAIL, which quotes the row. */
static void log_error(const PGresult *result, const hob_rows *rows, const char *sql) {
    if (!hob__log_enabled(level_of(rows->outcome)))
        return;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    hob_log_line line;
    hob__log_begin(&line, level_of(rows->outcome), HOB_TEXT("database: statement failed"));
    hob__log_text(&line, "sqlstate", hob_text_of(rows->sqlstate));
    hob__log_text(&line, "error", hob_text_of(message ? message : PQresultErrorMessage(result)));
    hob__log_text(&line, "sql", hob_text_of(sql));
    hob__log_end(&line);
}

static void take_error(const hob_db_call *call, hob_rows *rows) {
    const char *sqlstate = PQresultErrorField(call->result, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(call->result, PG_DIAG_CONSTRAINT_NAME);
    if (sqlstate)
        memcpy(rows->sqlstate, sqlstate, strnlen(sqlstate, sizeof rows->sqlstate - 1));
    rows->outcome = hob__db_classify(sqlstate);
    rows->constraint = hob__arena_copy(call->task->arena, hob_text_of(constraint));
    if (call->tx && call->tx->options.read_only && hob__db_refused_write(call->result))
        rows->outcome = HOB_OUTCOME_FAILED; /* the program's own fault */
    if (call->tx && hob__db_stale_plan(call->result))
        rows->outcome = HOB_OUTCOME_SERIALIZATION; /* the transaction run again will have it prepared anew */
    log_error(call->result, rows, call->sql);
}

static void clear_result(void *result) {
    PQclear(result);
}

static bool good(const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

hob_rows *hob__db_rows(hob_db_call *call, hob_outcome outcome) {
    static hob_rows no_memory = {.outcome = HOB_OUTCOME_NO_MEMORY};
    PGresult *result = call->result;
    hob_rows *rows = hob__arena_calloc(call->task->arena, 1, sizeof *rows);
    if (!rows) {
        PQclear(result);
        return &no_memory;
    }
    rows->outcome = outcome;
    if (!result)
        return rows;
    if (!good(result)) {
        take_error(call, rows);
        PQclear(result);
    } else if (hob__arena_defer(call->task->arena, clear_result, result)) {
        rows->result = result;
    } else {
        rows->outcome = HOB_OUTCOME_NO_MEMORY;
    }
    return rows;
}
