#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/db_private.h"

/* Eight bytes a step: the text is hashed with every query, since the address of a text made at run time says nothing.
 */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
    const char *at = bytes;
    for (; size > 0; at += 8) {
        uint64_t word = 0;
        size_t step = size < 8 ? size : 8;
        memcpy(&word, at, step);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
        size -= step;
    }
    return hash;
}

static bool same(const hob_db_statement *statement, uint64_t hash, const char *sql, const hob_db_params *params) {
    return statement->hash == hash && statement->param_count == params->count && strcmp(statement->sql, sql) == 0 &&
           (params->count == 0 || memcmp(statement->types, params->types, (size_t)params->count * sizeof(Oid)) == 0);
}

static void free_statement(hob_db_statement *statement) {
    free(statement->types);
    free(statement->sql);
    free(statement);
}

static hob_db_statement *new_statement(const hob_db *db, const char *sql, const hob_db_params *params) {
    hob_db_statement *statement = calloc(1, sizeof *statement + db->connection_count * sizeof statement->prepared[0]);
    if (!statement)
        return NULL;
    size_t types_size = (size_t)params->count * sizeof(Oid);
    statement->sql = strdup(sql);
    statement->types = malloc(types_size + 1);
    if (!statement->sql || !statement->types) {
        free_statement(statement);
        return NULL;
    }
    if (params->count > 0)
        memcpy(statement->types, params->types, types_size);
    statement->param_count = params->count;
    statement->average = -1;
    statement->generation = 1;
    return statement;
}

hob_db_statement *hob__db_statement(hob_db *db, const char *sql, const hob_db_params *params) {
    uint64_t hash = hash_bytes((uint64_t)params->count, sql, strlen(sql));
    hash = hash_bytes(hash, params->types, (size_t)params->count * sizeof(Oid));
    hob_db_statement **bucket = &db->statements[hash % HOB_DB_BUCKETS];
    for (hob_db_statement *statement = *bucket; statement; statement = statement->next)
        if (same(statement, hash, sql, params))
            return statement;
    if (db->statement_count == HOB_DB_STATEMENTS)
        return NULL;
    hob_db_statement *statement = new_statement(db, sql, params);
    if (!statement)
        return NULL;
    statement->hash = hash;
    statement->id = ++db->statement_count;
    statement->next = *bucket;
    *bucket = statement;
    if (db->statement_count == HOB_DB_STATEMENTS)
        hob__log(HOB_LOG_WARN, "%d different statements: further ones are not prepared. Values belong in parameters",
                 HOB_DB_STATEMENTS);
    return statement;
}

void hob__db_statement_name(const hob_db_statement *statement, char name[HOB_DB_STATEMENT_NAME]) {
    snprintf(name, HOB_DB_STATEMENT_NAME, "hob_%" PRIu32 "_%" PRIu32, statement->id, statement->generation);
}

/* Down faster than up: a first run is slow because caches are cold, and one hiccup should not take a statement out of
 * the batches. */
void hob__db_statement_ran(hob_db_statement *statement, int64_t ns) {
    if (!statement)
        return;
    if (statement->average < 0)
        statement->average = ns;
    else
        statement->average += (ns - statement->average) / (ns < statement->average ? 2 : 8);
}

bool hob__db_statement_quick(const hob_db_statement *statement) {
    return statement && statement->average >= 0 && statement->average <= HOB_DB_QUICK;
}

void hob__db_statements_forget(hob_db *db, const hob_db_connection *connection) {
    for (size_t i = 0; i < HOB_DB_BUCKETS; i++)
        for (hob_db_statement *statement = db->statements[i]; statement; statement = statement->next)
            statement->prepared[connection->index] = 0;
}

void hob__db_statements_free(hob_db *db) {
    for (size_t i = 0; i < HOB_DB_BUCKETS; i++) {
        for (hob_db_statement *statement; (statement = db->statements[i]);) {
            db->statements[i] = statement->next;
            free_statement(statement);
        }
    }
}
