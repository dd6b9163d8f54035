#include <endian.h>
#include <limits.h>
#include <string.h>

#include "base/text.h"
#include "data/db_private.h"

/* pg_type.dat */
#define OID_BOOL 16
#define OID_INT8 20
#define OID_TEXT 25
#define OID_FLOAT8 701
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016
#define OID_TIMESTAMPTZ 1184

#define TEXT_FORMAT 0
#define BINARY_FORMAT 1

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

static bool storable(hob_text text) {
    return !memchr(text.data, '\0', text.size) && hob__utf8_valid_prefix(text) == text.size;
}

/* array_send's format (arrayfuncs.c): dimensions, whether there are NULLs, element type; length and lower bound;
 * elements. */
static char *put_array_head(char *at, size_t count, bool nulls, Oid element) {
    at = put32(at, count > 0);
    at = put32(at, nulls);
    at = put32(at, element);
    if (count == 0)
        return at;
    at = put32(at, (uint32_t)count);
    return put32(at, 1);
}

#define ARRAY_HEAD_MAX 20

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

/* libpq takes text up to its NUL, so it is copied. */
static hob_outcome encode_text(encoding *e, hob_text text) {
    if (text.data && !storable(text))
        return HOB_OUTCOME_BAD_TEXT;
    if (text.size > INT_MAX)
        return HOB_OUTCOME_NO_MEMORY;
    hob_text copy = hob__arena_copy(e->arena, text);
    if (text.data && !copy.data)
        return HOB_OUTCOME_NO_MEMORY;
    set(e, 0, TEXT_FORMAT, copy.data, copy.size);
    return HOB_OUTCOME_GOOD;
}

static hob_outcome encode_ints(encoding *e, const int64_t *values, size_t count) {
    size_t size;
    if (__builtin_mul_overflow(count, sizeof(uint32_t) + sizeof(int64_t), &size) || size > INT_MAX - ARRAY_HEAD_MAX)
        return HOB_OUTCOME_NO_MEMORY;
    char *block = hob__arena_alloc(e->arena, size + ARRAY_HEAD_MAX);
    if (!block)
        return HOB_OUTCOME_NO_MEMORY;
    char *at = put_array_head(block, count, false, OID_INT8);
    for (size_t i = 0; i < count; i++)
        at = put64(put32(at, sizeof(int64_t)), (uint64_t)values[i]);
    set(e, OID_INT8_ARRAY, BINARY_FORMAT, block, (size_t)(at - block));
    return HOB_OUTCOME_GOOD;
}

/* GOOD and the bytes that all elements take. */
static hob_outcome measure_texts(const hob_text *values, size_t count, size_t *size, bool *nulls) {
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        *nulls |= !values[i].data;
        if (values[i].data && !storable(values[i]))
            return HOB_OUTCOME_BAD_TEXT;
        *size += sizeof(uint32_t) + (values[i].data ? values[i].size : 0);
        if (*size > INT_MAX - ARRAY_HEAD_MAX)
            return HOB_OUTCOME_NO_MEMORY;
    }
    return HOB_OUTCOME_GOOD;
}

static hob_outcome encode_texts(encoding *e, const hob_text *values, size_t count) {
    size_t size;
    bool nulls = false;
    hob_outcome outcome = measure_texts(values, count, &size, &nulls);
    if (outcome != HOB_OUTCOME_GOOD)
        return outcome;
    char *block = hob__arena_alloc(e->arena, size + ARRAY_HEAD_MAX);
    if (!block)
        return HOB_OUTCOME_NO_MEMORY;
    char *at = put_array_head(block, count, nulls, OID_TEXT);
    for (size_t i = 0; i < count; i++) {
        at = put32(at, values[i].data ? (uint32_t)values[i].size : UINT32_MAX); /* -1: NULL */
        if (values[i].data)
            at = (char *)memcpy(at, values[i].data, values[i].size) + values[i].size;
    }
    set(e, OID_TEXT_ARRAY, BINARY_FORMAT, block, (size_t)(at - block));
    return HOB_OUTCOME_GOOD;
}

/* scratch: 8 bytes for the value. */
static hob_outcome encode(encoding *e, const hob_param *param, char *scratch) {
    static const Oid types[] = {
        [HOB_PARAM_INT] = OID_INT8, [HOB_PARAM_DOUBLE] = OID_FLOAT8, [HOB_PARAM_TIME] = OID_TIMESTAMPTZ};
    switch (param->kind) {
    case HOB_PARAM_NULL:
        set(e, 0, TEXT_FORMAT, NULL, 0);
        return HOB_OUTCOME_GOOD;
    case HOB_PARAM_INT:
    case HOB_PARAM_DOUBLE:
    case HOB_PARAM_TIME:
        put64(scratch, bits_of(param));
        set(e, types[param->kind], BINARY_FORMAT, scratch, sizeof(uint64_t));
        return HOB_OUTCOME_GOOD;
    case HOB_PARAM_BOOL:
        *scratch = param->boolean;
        set(e, OID_BOOL, BINARY_FORMAT, scratch, 1);
        return HOB_OUTCOME_GOOD;
    case HOB_PARAM_TEXT:
        return encode_text(e, param->text);
    case HOB_PARAM_INTS:
        return encode_ints(e, param->array.values, param->array.count);
    case HOB_PARAM_TEXTS:
        return encode_texts(e, param->array.values, param->array.count);
    }
    return HOB_OUTCOME_FAILED;
}

hob_outcome hob__db_encode(hob_arena *arena, const hob_param *params, size_t count, hob_db_params *out) {
    *out = (hob_db_params){0};
    if (count > HOB_DB_PARAMS)
        return HOB_OUTCOME_FAILED;
    if (count == 0)
        return HOB_OUTCOME_GOOD;
    size_t each = sizeof(char *) + sizeof(uint64_t) + sizeof(Oid) + 2 * sizeof(int);
    char *block = hob__arena_alloc(arena, count * each);
    if (!block)
        return HOB_OUTCOME_NO_MEMORY;
    out->count = (int)count;
    out->values = (const char **)block;
    char *scratch = (char *)(out->values + count);
    out->types = (Oid *)(scratch + count * sizeof(uint64_t));
    out->lengths = (int *)(out->types + count);
    out->formats = out->lengths + count;
    encoding e = {.arena = arena, .out = out};
    hob_outcome outcome = HOB_OUTCOME_GOOD;
    for (; e.at < out->count && outcome == HOB_OUTCOME_GOOD; e.at++)
        outcome = encode(&e, &params[e.at], scratch + (size_t)e.at * sizeof(uint64_t));
    return outcome;
}
