/* How a query ended, told in HTTP: the one place where the two meet. */
#include <string.h>

#include "base/text.h"
#include "handler/services.h"
#include "json/bind.h"
#include "json/rows.h"

#define RETRY_AFTER_DATABASE_S 1

static int field_problem(hob_ctx *c, int status, const hob_field *field, const char *what) {
    json_object *errors = NULL;
    hob__fault_add(c->arena, &errors, hob_format(c, "/%s", field->name), hob_text_of(what));
    return hob__response_problem_with(c->response, c->arena, status, c->request->id,
                                      hob_format(c, "%s %s", field->name, what), errors);
}

static int unique_violation(hob_ctx *c, const hob_rows *rows, const hob_field *fields) {
    for (const hob_field *field = fields; field && field->name; field++)
        if (field->unique && hob_text_equal(rows->constraint, hob_text_of(field->unique)))
            return field_problem(c, 409, field, "is already taken");
    return hob_conflict(c, "it exists already");
}

/* PostgreSQL names a foreign key <table>_<column>_fkey unless told otherwise. */
static bool constrains(hob_text constraint, const hob_field *field) {
    const char *column = field->column ? field->column : field->name;
    size_t tail = strlen("_fkey"), size = strlen(column);
    return constraint.size > size + tail + 1 && constraint.data[constraint.size - size - tail - 1] == '_' &&
           memcmp(constraint.data + constraint.size - size - tail, column, size) == 0;
}

/* On a write the missing parent came either from a field of the body or from the path. */
static int foreign_key_violation(hob_ctx *c, const hob_rows *rows, const hob_field *fields) {
    if (c->request->method == HOB_DELETE)
        return hob_conflict(c, "something still refers to it");
    for (const hob_field *field = fields; field && field->name; field++)
        if (!field->server && constrains(rows->constraint, field))
            return field_problem(c, 422, field, "refers to nothing that exists");
    if (c->match->param_count > 0)
        return hob_not_found(c, "no such parent");
    return hob_problem(c, 422, "the body refers to something that does not exist");
}

/* No Retry-After, and nothing that a client would take for "try again": that might do it twice. */
static int outcome_unknown(hob_ctx *c) {
    static const hob_problem_type type = {.uri = "urn:hob:outcome-unknown", .title = "Outcome Unknown"};
    return hob__response_problem_typed(c->response, c->arena, &type, 503, c->request->id,
                                       HOB_TEXT("the database was lost before it told whether the change was made"),
                                       NULL);
}

int hob_rows_status(hob_ctx *c, const hob_rows *rows, const hob_field *fields) {
    switch (rows->outcome) {
    case HOB_OUTCOME_GOOD:
        return 0;
    case HOB_OUTCOME_UNIQUE:
        return unique_violation(c, rows, fields);
    case HOB_OUTCOME_FOREIGN_KEY:
        return foreign_key_violation(c, rows, fields);
    case HOB_OUTCOME_CHECK:
    case HOB_OUTCOME_BAD_TEXT:
        return hob_problem(c, 422, "the database does not accept one of the values");
    case HOB_OUTCOME_SERIALIZATION:
        return hob_unavailable(c, RETRY_AFTER_DATABASE_S, "too many conflicting changes at the same time");
    case HOB_OUTCOME_TIMEOUT:
        return hob_problem(c, 504, "the database took too long");
    case HOB_OUTCOME_CANCELLED:
        return hob_problem(c, 499, "the client has gone");
    case HOB_OUTCOME_UNAVAILABLE:
    case HOB_OUTCOME_NO_FREE_CONNECTION:
        return hob_unavailable(c, RETRY_AFTER_DATABASE_S, "the database cannot be reached at the moment");
    case HOB_OUTCOME_UNKNOWN:
        return outcome_unknown(c);
    case HOB_OUTCOME_NO_MEMORY:
        return hob_unavailable(c, RETRY_AFTER_DATABASE_S, "out of memory");
    case HOB_OUTCOME_FAILED:
        break;
    }
    return hob_problem(c, 500, "something went wrong; the log knows it by this instance");
}

/* "no user 42" would need to know what a user is; the last segment of the path is what the client asked for. */
static int nothing_there(hob_ctx *c) {
    return hob_not_found(c, "nothing at " HOB_FMT, HOB_ARG(c->request->path));
}

int hob_rows_one(hob_ctx *c, const hob_rows *rows, const hob_field *fields) {
    int status = hob_rows_status(c, rows, fields);
    if (status)
        return status;
    if (hob_rows_count(rows) == 0)
        return nothing_there(c);
    return hob_json(c, 200, hob_row_object(c, rows, 0, fields));
}
