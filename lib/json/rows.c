#include "json/rows.h"

#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "json/emit.h"
#include "json/value.h"

const char *hob__outcome_text(hob_outcome outcome) {
    static const char *const texts[] = {
#define OUTCOME_TEXT(name, text) text,
        HOB_OUTCOMES(OUTCOME_TEXT)
#undef OUTCOME_TEXT
    };
    return texts[outcome];
}

/* ---- By column ---- */

/* Exact; PQfnumber folds case and allocates. */
static int column_number(const PGresult *result, const char *name) {
    for (int i = 0, count = PQnfields(result); i < count; i++)
        if (strcmp(PQfname(result, i), name) == 0)
            return i;
    return -1;
}

size_t hob_rows_count(const hob_rows *rows) {
    return rows && rows->result ? (size_t)PQntuples(rows->result) : 0;
}

static hob_text value_at(const PGresult *result, int row, int number) {
    return (hob_text){PQgetvalue(result, row, number), (size_t)PQgetlength(result, row, number)};
}

/* One value as it lies in the result. */
typedef struct found {
    const char *column;
    Oid oid;
    hob_text bytes;
} found;

/* false: there is no value. */
static bool find(const hob_rows *rows, size_t row, const char *column, found *out) {
    if (row >= hob_rows_count(rows))
        return false;
    const PGresult *result = rows->result;
    int number = column_number(result, column);
    if (number < 0)
        hob__log(HOB_LOG_ERROR, "a query's result has no column \"%s\"", column);
    if (number < 0 || PQgetisnull(result, (int)row, number))
        return false;
    *out = (found){column, PQftype(result, number), value_at(result, (int)row, number)};
    return true;
}

static void complain(const found *value, const char *wanted) {
    hob__log(HOB_LOG_ERROR, "column \"%s\" is of type %s (%u), which is no %s", value->column,
             hob__value_type_name(value->oid), value->oid, wanted);
}

bool hob_rows_null(const hob_rows *rows, size_t row, const char *column) {
    found value;
    return !find(rows, row, column, &value);
}

int64_t hob_rows_int(const hob_rows *rows, size_t row, const char *column) {
    found value;
    int64_t out = 0;
    if (find(rows, row, column, &value) && !hob__value_int(value.oid, value.bytes.data, value.bytes.size, &out))
        complain(&value, "integer");
    return out;
}

bool hob_rows_bool(const hob_rows *rows, size_t row, const char *column) {
    found value;
    bool out = false;
    if (find(rows, row, column, &value) && !hob__value_bool(value.oid, value.bytes.data, value.bytes.size, &out))
        complain(&value, "bool");
    return out;
}

double hob_rows_double(const hob_rows *rows, size_t row, const char *column) {
    found value;
    double out = 0;
    if (find(rows, row, column, &value) && !hob__value_double(value.oid, value.bytes.data, value.bytes.size, &out))
        complain(&value, "float4 or float8");
    return out;
}

int64_t hob_rows_time(const hob_rows *rows, size_t row, const char *column) {
    found value;
    int64_t out = 0;
    if (find(rows, row, column, &value) && !hob__value_time(value.oid, value.bytes.data, value.bytes.size, &out))
        complain(&value, "time");
    return out;
}

/* Lives in the result, as everything hob_rows_text returns. */
static hob_text uuid_in(PGresult *result, const char *value) {
    char *text = PQresultAlloc(result, HOB_UUID_TEXT);
    if (!text) {
        hob__log(HOB_LOG_ERROR, "out of memory for a uuid");
        return (hob_text){NULL, 0};
    }
    hob__uuid_text(value, text);
    return (hob_text){text, HOB_UUID_TEXT};
}

hob_text hob_rows_text(const hob_rows *rows, size_t row, const char *column) {
    found value;
    if (!find(rows, row, column, &value))
        return (hob_text){NULL, 0};
    if (hob__value_is_text(value.oid) || value.oid == HOB_OID_JSON)
        return value.bytes;
    if (value.oid == HOB_OID_JSONB && value.bytes.size > 0)
        return (hob_text){value.bytes.data + 1, value.bytes.size - 1}; /* behind the version */
    if (value.oid == HOB_OID_UUID && value.bytes.size == HOB_UUID_BYTES)
        return uuid_in(rows->result, value.bytes.data);
    complain(&value, "text");
    return (hob_text){NULL, 0};
}

hob_text hob_rows_bytea(const hob_rows *rows, size_t row, const char *column) {
    found value;
    if (!find(rows, row, column, &value))
        return (hob_text){NULL, 0};
    if (value.oid == HOB_OID_BYTEA)
        return value.bytes;
    complain(&value, "bytea");
    return (hob_text){NULL, 0};
}

/* ---- Nodes ---- */

typedef struct column {
    const char *name;        /* in JSON */
    hob_text key;            /* ready to be written: ,"name": */
    hob_value_writer *write; /* NULL: always null */
    int number;
} column;

typedef struct rows_node {
    const PGresult *result;
    int first, count; /* rows */
    size_t column_count;
    column columns[];
} rows_node;

static bool put_field(struct printbuf *out, const rows_node *node, const column *column, int row) {
    hob_text value = column->write ? value_at(node->result, row, column->number) : (hob_text){0};
    if (value.size == 0 && (!column->write || PQgetisnull(node->result, row, column->number)))
        return hob__put_null(out);
    return column->write(out, value.data, value.size);
}

/* The comma before the first key becomes the opening brace. */
static bool put_key(struct printbuf *out, hob_text key, bool first) {
    char *to = hob__room(out, key.size);
    if (!to)
        return false;
    if (key.size <= HOB_SPARE_ROOM)
        memcpy(to, key.data, HOB_SPARE_ROOM); /* of a fixed size: no call */
    else
        memcpy(to, key.data, key.size);
    if (first)
        *to = '{';
    return hob__wrote(out, to + key.size);
}

/* Without the closing brace. *first: only the opening one has been written. members: NULL when there are none. */
static bool put_fields(struct printbuf *out, const rows_node *node, int row, json_object *members, bool *first) {
    bool may_replace = members && json_object_object_length(members) > 0;
    *first = true;
    for (size_t i = 0; i < node->column_count; i++) {
        const column *column = &node->columns[i];
        if (may_replace && json_object_object_get_ex(members, column->name, NULL))
            continue;
        if (!put_key(out, column->key, *first) || !put_field(out, node, column, row))
            return false;
        *first = false;
    }
    return !*first || hob__put(out, "{", 1);
}

/* A member is first written to a buffer of its own: json-c has no public way to write a node into another's. */
static bool put_member(struct printbuf *out, const char *key, json_object *value, int flags, bool first) {
    size_t size = 0;
    const char *text = json_object_to_json_string_length(value, flags, &size);
    return text && hob__put(out, ",", !first) && hob__put_string(out, hob_text_of(key)) && hob__put(out, ":", 1) &&
           hob__put(out, text, size);
}

static int write_object(struct json_object *object, struct printbuf *out, int level, int flags) {
    const rows_node *node = json_object_get_userdata(object);
    bool first;
    (void)level;
    if (!put_fields(out, node, node->first, object, &first))
        return -1;
    json_object_object_foreach(object, key, value) {
        if (!put_member(out, key, value, flags, first))
            return -1;
        first = false;
    }
    return hob__put(out, "}", 1) ? 0 : -1;
}

static int write_array(struct json_object *array, struct printbuf *out, int level, int flags) {
    const rows_node *node = json_object_get_userdata(array);
    bool first;
    (void)level;
    (void)flags;
    if (!hob__put(out, "[", 1))
        return -1;
    for (int i = 0; i < node->count; i++)
        if (!put_fields(out, node, node->first + i, NULL, &first) || !hob__put(out, "},", 2))
            return -1;
    out->bpos -= node->count > 0; /* the last comma */
    return hob__put(out, "]", 1) ? 0 : -1;
}

static bool is_written(const hob_field *field) {
    return field->type != HOB_LIST;
}

/* ,"name": */
static hob_text ready_key(hob_arena *arena, const char *name) {
    hob_text text = hob_text_of(name);
    size_t size = 6 * text.size + 8 + 2 * HOB_SPARE_ROOM; /* every byte escaped; it never has to grow */
    struct printbuf key = {.buf = hob__arena_calloc(arena, 1, size), .size = (int)size};
    if (!key.buf || !hob__put(&key, ",", 1) || !hob__put_string(&key, text) || !hob__put(&key, ":", 1))
        return (hob_text){NULL, 0};
    return (hob_text){key.buf, (size_t)key.bpos};
}

static void resolve(column *column, const PGresult *result, const hob_field *field) {
    const char *name = field->column ? field->column : field->name;
    column->number = column_number(result, name);
    if (column->number < 0) {
        hob__log(HOB_LOG_ERROR, "no column \"%s\" for field \"%s\" in a query's result", name, field->name);
        return;
    }
    Oid oid = PQftype(result, column->number);
    if (PQfformat(result, column->number) == 1 || hob__value_is_text(oid))
        column->write = hob__value_writer(field->type, oid);
    if (!column->write)
        hob__log(HOB_LOG_ERROR, "column \"%s\" of type %s (%u) does not fit field \"%s\"", name,
                 hob__value_type_name(oid), oid, field->name);
}

static rows_node *new_node(hob_arena *arena, const PGresult *result, size_t first, size_t count,
                           const hob_field *fields) {
    size_t column_count = 0;
    for (const hob_field *field = fields; field && field->name; field++)
        column_count += is_written(field);
    rows_node *node = hob__arena_calloc(arena, 1, sizeof *node + column_count * sizeof *node->columns);
    if (!node)
        return NULL;
    *node = (rows_node){.result = result, .first = (int)first, .count = (int)count};
    for (const hob_field *field = fields; field && field->name; field++) {
        if (!is_written(field))
            continue;
        column *column = &node->columns[node->column_count++];
        column->name = field->name;
        column->key = ready_key(arena, field->name);
        if (!column->key.data)
            return NULL;
        if (count > 0)
            resolve(column, result, field);
    }
    return node;
}

static json_object *serialized_by(hob_arena *arena, json_object *object, json_object_to_json_string_fn *write,
                                  rows_node *node) {
    if (!object)
        hob__arena_fail(arena);
    else
        json_object_set_serializer(object, write, node, NULL);
    return hob__json_own(arena, object);
}

json_object *hob__row_object(hob_arena *arena, const hob_rows *rows, size_t row, const hob_field *fields) {
    if (row >= hob_rows_count(rows))
        return NULL;
    rows_node *node = new_node(arena, rows->result, row, 1, fields);
    return node ? serialized_by(arena, json_object_new_object(), write_object, node) : NULL;
}

json_object *hob__rows_array(hob_arena *arena, const hob_rows *rows, size_t count, const hob_field *fields) {
    size_t there = hob_rows_count(rows);
    rows_node *node = new_node(arena, rows ? rows->result : NULL, 0, count < there ? count : there, fields);
    return node ? serialized_by(arena, json_object_new_array_ext(1), write_array, node) : NULL;
}
