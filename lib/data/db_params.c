#include <endian.h>
#include <limits.h>
#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "data/db_private.h"

#define UUID_BYTES 16
#define SCRATCH UUID_BYTES /* the longest value that is neither text nor bytes */

/* pg_type.dat: each kind of value, and an array of it. */
static const struct {
    Oid oid, array;
} TYPES[] = {
    [HOB_PARAM_INT] = {20, 1016},     [HOB_PARAM_TEXT] = {25, 1009},   [HOB_PARAM_BOOL] = {16, 1000},
    [HOB_PARAM_DOUBLE] = {701, 1022}, [HOB_PARAM_TIME] = {1184, 1185}, [HOB_PARAM_UUID] = {2950, 2951},
    [HOB_PARAM_BYTEA] = {17, 1001},
};

#define TEXT_FORMAT 0
#define BINARY_FORMAT 1

#define ARRAY_HEAD_MAX 20

#define POSTGRES_EPOCH INT64_C(946684800000000) /* 2000-01-01 in microseconds since 1970 */

_Static_assert(sizeof(double) == 8, "float8");

static char *put32(char *at, uint32_t value) {
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static char *put64(char *at, uint64_t value) {
    value = htobe64(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

/* PostgreSQL's -infinity is INT64_MIN; a time too early becomes one that is refused instead. */
static int64_t postgres_time(int64_t us) {
    return us < INT64_MIN + POSTGRES_EPOCH ? INT64_MIN + 1 : us - POSTGRES_EPOCH;
}

static uint64_t bits_of(const hob_param *param) {
    uint64_t bits;
    switch (param->kind) {
    case HOB_PARAM_DOUBLE:
        memcpy(&bits, &param->real, sizeof bits);
        return bits;
    case HOB_PARAM_TIME:
        return (uint64_t)postgres_time(param->integer);
    default:
        return (uint64_t)param->integer;
    }
}

/* ---- One value ---- */

static bool is_null(const hob_param *value) {
    switch (value->kind) {
    case HOB_PARAM_NULL:
        return true;
    case HOB_PARAM_TEXT:
    case HOB_PARAM_UUID:
    case HOB_PARAM_BYTEA:
        return !value->text.data;
    default:
        return false;
    }
}

static bool storable(hob_text text) {
    return !memchr(text.data, '\0', text.size) && hob__utf8_valid_prefix(text) == text.size;
}

/* Of a value that is not null. */
static bool good(const hob_param *value) {
    if (value->kind == HOB_PARAM_TEXT)
        return storable(value->text);
    return value->kind != HOB_PARAM_UUID || hob__uuid_valid(value->text);
}

static size_t size_of(const hob_param *value) {
    switch (value->kind) {
    case HOB_PARAM_TEXT:
    case HOB_PARAM_BYTEA:
        return value->text.size;
    case HOB_PARAM_UUID:
        return UUID_BYTES;
    case HOB_PARAM_BOOL:
        return 1;
    default:
        return sizeof(uint64_t);
    }
}

static int digit(char c) {
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static char *put_uuid(char *at, hob_text text) {
    for (size_t i = 0; i < text.size;) {
        if (text.data[i] == '-') {
            i++;
            continue;
        }
        *at++ = (char)(digit(text.data[i]) << 4 | digit(text.data[i + 1]));
        i += 2;
    }
    return at;
}

/* size_of bytes. */
static char *put(char *at, const hob_param *value) {
    switch (value->kind) {
    case HOB_PARAM_TEXT:
    case HOB_PARAM_BYTEA:
        return (char *)memcpy(at, value->text.data, value->text.size) + value->text.size;
    case HOB_PARAM_UUID:
        return put_uuid(at, value->text);
    case HOB_PARAM_BOOL:
        *at = value->boolean;
        return at + 1;
    default:
        return put64(at, bits_of(value));
    }
}

/* ---- Arrays ---- */

static hob_param element_at(const hob_param *array, size_t i) {
    const void *values = array->array.values;
    switch (array->element) {
    case HOB_PARAM_BOOL:
        return hob_bool(((const bool *)values)[i]);
    case HOB_PARAM_DOUBLE:
        return hob_double(((const double *)values)[i]);
    case HOB_PARAM_TEXT:
    case HOB_PARAM_UUID:
    case HOB_PARAM_BYTEA:
        return (hob_param){.kind = array->element, .text = ((const hob_text *)values)[i]};
    default:
        return (hob_param){.kind = array->element, .integer = ((const int64_t *)values)[i]};
    }
}

/* GOOD and the bytes that all elements take. */
static hob_outcome measure(const hob_param *array, size_t *size, bool *nulls) {
    *size = ARRAY_HEAD_MAX;
    *nulls = false;
    if (array->array.count > INT_MAX / sizeof(uint32_t))
        return HOB_OUTCOME_NO_MEMORY;
    for (size_t i = 0; i < array->array.count; i++) {
        hob_param element = element_at(array, i);
        *size += sizeof(uint32_t);
        if (is_null(&element))
            *nulls = true;
        else if (!good(&element))
            return HOB_OUTCOME_BAD_TEXT;
        else
            *size += size_of(&element);
        if (*size > INT_MAX)
            return HOB_OUTCOME_NO_MEMORY;
    }
    return HOB_OUTCOME_GOOD;
}

/* array_send's format (arrayfuncs.c): dimensions, whether there are NULLs, element type; length and lower bound;
 * elements. */
static char *put_array(char *at, const hob_param *array, bool nulls) {
    size_t count = array->array.count;
    at = put32(at, count > 0);
    at = put32(at, nulls);
    at = put32(at, TYPES[array->element].oid);
    if (count > 0)
        at = put32(put32(at, (uint32_t)count), 1);
    for (size_t i = 0; i < count; i++) {
        hob_param element = element_at(array, i);
        if (is_null(&element))
            at = put32(at, UINT32_MAX); /* -1 */
        else
            at = put(put32(at, (uint32_t)size_of(&element)), &element);
    }
    return at;
}

/* ---- Parameters ---- */

typedef struct encoding {
    hob_arena *arena;
    hob_db_params *out;
    int at;
} encoding;

static void set(encoding *e, Oid type, int format, const char *value, size_t length) {
    e->out->types[e->at] = type;
    e->out->formats[e->at] = format;
    e->out->values[e->at] = value;
    e->out->lengths[e->at] = (int)length;
}

static hob_outcome encode_array(encoding *e, const hob_param *array) {
    size_t size;
    bool nulls;
    hob_outcome outcome = measure(array, &size, &nulls);
    if (outcome != HOB_OUTCOME_GOOD)
        return outcome;
    char *block = hob__arena_alloc(e->arena, size);
    if (!block)
        return HOB_OUTCOME_NO_MEMORY;
    set(e, TYPES[array->element].array, BINARY_FORMAT, block, (size_t)(put_array(block, array, nulls) - block));
    return HOB_OUTCOME_GOOD;
}

/* Its type is left to the server, so it can be anything that is written as text. libpq takes it up to its NUL, so it is
 * copied. */
static hob_outcome encode_text(encoding *e, hob_text text) {
    hob_text copy = hob__arena_copy(e->arena, text);
    set(e, 0, TEXT_FORMAT, copy.data, copy.size);
    return copy.data ? HOB_OUTCOME_GOOD : HOB_OUTCOME_NO_MEMORY;
}

static hob_outcome encode(encoding *e, const hob_param *param, char *scratch) {
    if (param->kind == HOB_PARAM_ARRAY)
        return encode_array(e, param);
    if (is_null(param)) {
        bool typed = param->kind == HOB_PARAM_UUID || param->kind == HOB_PARAM_BYTEA;
        set(e, typed ? TYPES[param->kind].oid : 0, TEXT_FORMAT, NULL, 0);
        return HOB_OUTCOME_GOOD;
    }
    if (!good(param))
        return HOB_OUTCOME_BAD_TEXT;
    if (size_of(param) > INT_MAX)
        return HOB_OUTCOME_NO_MEMORY;
    if (param->kind == HOB_PARAM_TEXT)
        return encode_text(e, param->text);
    const char *bytes = param->text.data;
    if (param->kind != HOB_PARAM_BYTEA) {
        (void)put(scratch, param);
        bytes = scratch;
    }
    set(e, TYPES[param->kind].oid, BINARY_FORMAT, bytes, size_of(param));
    return HOB_OUTCOME_GOOD;
}

hob_outcome hob__db_encode(hob_arena *arena, const hob_param *params, size_t count, hob_db_params *out) {
    *out = (hob_db_params){0};
    if (count > HOB_DB_PARAMS)
        return HOB_OUTCOME_FAILED;
    if (count == 0)
        return HOB_OUTCOME_GOOD;
    size_t each = sizeof(char *) + SCRATCH + sizeof(Oid) + 2 * sizeof(int);
    char *block = hob__arena_alloc(arena, count * each);
    if (!block)
        return HOB_OUTCOME_NO_MEMORY;
    out->count = (int)count;
    out->values = (const char **)block;
    char *scratch = (char *)(out->values + count);
    out->types = (Oid *)(scratch + count * SCRATCH);
    out->lengths = (int *)(out->types + count);
    out->formats = out->lengths + count;
    encoding e = {.arena = arena, .out = out};
    hob_outcome outcome = HOB_OUTCOME_GOOD;
    for (; e.at < out->count && outcome == HOB_OUTCOME_GOOD; e.at++)
        outcome = encode(&e, &params[e.at], scratch + (size_t)e.at * SCRATCH);
    return outcome;
}
