/* A row set, and json-c nodes that write it straight from the PGresult into the print buffer. */
#ifndef HOB_JSON_ROWS_H
#define HOB_JSON_ROWS_H

#include <libpq-fe.h>

#include "base/arena.h"
#include "hob.h"

/* How a query ended; X(name, log text). The HTTP answer of each is in handler/outcome.c. */
#define HOB_OUTCOMES(X)                                                                                                \
    X(GOOD, "good")                                                                                                    \
    X(UNIQUE, "unique violation")                                                                                      \
    X(FOREIGN_KEY, "foreign key violation")                                                                            \
    X(CHECK, "value refused by the database")                                                                          \
    X(BAD_TEXT, "text the database cannot hold")                                                                       \
    X(SERIALIZATION, "serialization failure or deadlock")                                                              \
    X(TIMEOUT, "statement timeout or deadline")                                                                        \
    X(CANCELLED, "the client has gone")                                                                                \
    X(UNAVAILABLE, "no connection")                                                                                    \
    X(NO_FREE_CONNECTION, "no free connection before the deadline")                                                    \
    X(UNKNOWN, "it is not known whether the transaction was committed")                                                \
    X(NO_MEMORY, "out of memory")                                                                                      \
    X(FAILED, "failed")

typedef enum hob_outcome {
#define HOB_OUTCOME_NAME(name, text) HOB_OUTCOME_##name,
    HOB_OUTCOMES(HOB_OUTCOME_NAME)
#undef HOB_OUTCOME_NAME
} hob_outcome;
const char *hob__outcome_text(hob_outcome outcome);

struct hob_rows {
    PGresult *result; /* binary format; NULL unless GOOD; cleared with the arena */
    hob_outcome outcome;
    char sqlstate[6];
    hob_text constraint; /* of UNIQUE, FOREIGN_KEY, CHECK */
};

/* Nodes owned by the arena; a tree that takes one in needs a reference of its own (json_object_get). They write fields
 * only, lists left out, and always without blanks; a member set on a row's object follows its fields, and replaces one
 * of its name. NULL when memory ran out, and for a row that is not there. A column that a field names but the result
 * lacks, or whose type does not fit the field's, is a fault of the program: logged once per node, written as null. */
json_object *hob__row_object(hob_arena *arena, const hob_rows *rows, size_t row, const hob_field *fields);
/* The first count rows; none when rows are not GOOD. */
json_object *hob__rows_array(hob_arena *arena, const hob_rows *rows, size_t count, const hob_field *fields);
/* Serialized without blanks and without escaped slashes; NUL-terminated in the arena. No text when memory ran out. */
hob_text hob__json_text(hob_arena *arena, json_object *tree);
/* Hands a tree over to the arena: put when it is reset. NULL in, NULL out; NULL also when memory ran out. */
json_object *hob__json_own(hob_arena *arena, json_object *tree);

#endif
