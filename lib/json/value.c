#include "json/value.h"

#include <endian.h>
#include <string.h>

#include "base/text.h"

#define US_TO_2000 INT64_C(946684800000000) /* from 1970; PostgreSQL counts from 2000 */

/* Big-endian, signed, of up to eight bytes. */
static int64_t load(const char *value, size_t size) {
    uint64_t bits = 0;
    if (size == sizeof bits) { /* the usual one */
        memcpy(&bits, value, sizeof bits);
        return (int64_t)be64toh(bits);
    }
    if (size == 0 || size > sizeof bits)
        return 0;
    for (size_t i = 0; i < size; i++)
        bits = bits << 8 | (unsigned char)value[i];
    unsigned unused = 8 * (unsigned)(sizeof bits - size);
    return (int64_t)(bits << unused) >> unused;
}

/* false for infinity, which is the greatest and the least integer. */
static bool time_of(const char *value, size_t size, int64_t *us_since_1970) {
    int64_t us = load(value, size);
    return us != INT64_MIN && !__builtin_add_overflow(us, US_TO_2000, us_since_1970);
}

static double float_of(const char *value, size_t size) {
    int64_t bits = load(value, size);
    if (size == sizeof(float)) {
        uint32_t half = (uint32_t)bits;
        float real;
        memcpy(&real, &half, sizeof real);
        return (double)real;
    }
    double real;
    memcpy(&real, &bits, sizeof real);
    return real;
}

bool hob__value_int(Oid oid, const char *value, size_t size, int64_t *out) {
    if (oid != HOB_OID_INT2 && oid != HOB_OID_INT4 && oid != HOB_OID_INT8)
        return false;
    *out = load(value, size);
    return true;
}

bool hob__value_bool(Oid oid, const char *value, size_t size, bool *out) {
    if (oid != HOB_OID_BOOL)
        return false;
    *out = load(value, size) != 0;
    return true;
}

bool hob__value_double(Oid oid, const char *value, size_t size, double *out) {
    if (oid != HOB_OID_FLOAT4 && oid != HOB_OID_FLOAT8)
        return false;
    *out = float_of(value, size);
    return true;
}

bool hob__value_time(Oid oid, const char *value, size_t size, int64_t *out) {
    if (oid != HOB_OID_TIMESTAMP && oid != HOB_OID_TIMESTAMPTZ)
        return false;
    if (!time_of(value, size, out))
        *out = 0;
    return true;
}

static const struct {
    Oid oid;
    const char *name;
} NAMES[] = {
    {HOB_OID_BOOL, "bool"},           {HOB_OID_BYTEA, "bytea"},
    {HOB_OID_NAME, "name"},           {HOB_OID_INT8, "int8"},
    {HOB_OID_INT2, "int2"},           {HOB_OID_INT4, "int4"},
    {HOB_OID_TEXT, "text"},           {HOB_OID_JSON, "json"},
    {HOB_OID_FLOAT4, "float4"},       {HOB_OID_FLOAT8, "float8"},
    {HOB_OID_UNKNOWN, "unknown"},     {HOB_OID_BPCHAR, "bpchar"},
    {HOB_OID_VARCHAR, "varchar"},     {HOB_OID_DATE, "date"},
    {HOB_OID_TIMESTAMP, "timestamp"}, {HOB_OID_TIMESTAMPTZ, "timestamptz"},
    {HOB_OID_NUMERIC, "numeric"},     {HOB_OID_UUID, "uuid"},
    {HOB_OID_JSONB, "jsonb"},
};

const char *hob__value_type_name(Oid oid) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (NAMES[i].oid == oid)
            return NAMES[i].name;
    return "another type";
}

bool hob__value_is_text(Oid oid) {
    switch (oid) {
    case HOB_OID_TEXT:
    case HOB_OID_VARCHAR:
    case HOB_OID_BPCHAR:
    case HOB_OID_NAME:
    case HOB_OID_UNKNOWN:
        return true;
    default:
        return oid >= HOB_OID_FIRST_CUSTOM;
    }
}

void hob__uuid_text(const char *value, char out[HOB_UUID_TEXT]) {
    for (size_t i = 0; i < HOB_UUID_BYTES; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = "0123456789abcdef"[byte >> 4];
        *out++ = "0123456789abcdef"[byte & 15];
    }
}

static bool write_int(struct printbuf *out, const char *value, size_t size) {
    return hob__put_int(out, load(value, size));
}

static bool write_bool(struct printbuf *out, const char *value, size_t size) {
    return load(value, size) ? hob__put(out, "true", 4) : hob__put(out, "false", 5);
}

static bool write_float(struct printbuf *out, const char *value, size_t size) {
    return hob__put_double(out, float_of(value, size));
}

static bool write_time(struct printbuf *out, const char *value, size_t size) {
    int64_t us;
    return time_of(value, size, &us) ? hob__put_time(out, us) : hob__put_null(out);
}

static bool write_text(struct printbuf *out, const char *value, size_t size) {
    return hob__put_string(out, (hob_text){value, size});
}

/* The binary format of a custom type need not be text, and an answer must be valid UTF-8. */
static bool write_custom(struct printbuf *out, const char *value, size_t size) {
    hob_text text = {value, size};
    return hob__utf8_valid_prefix(text) == size ? hob__put_string(out, text) : hob__put_null(out);
}

static bool write_uuid(struct printbuf *out, const char *value, size_t size) {
    char text[HOB_UUID_TEXT + 2] = {'"', [HOB_UUID_TEXT + 1] = '"'};
    if (size != HOB_UUID_BYTES)
        return hob__put_null(out);
    hob__uuid_text(value, text + 1);
    return hob__put(out, text, sizeof text);
}

static bool write_json(struct printbuf *out, const char *value, size_t size) {
    return hob__put(out, value, size);
}

/* A version, always 1, then the JSON. */
static bool write_jsonb(struct printbuf *out, const char *value, size_t size) {
    return size > 1 && value[0] == 1 ? hob__put(out, value + 1, size - 1) : hob__put_null(out);
}

static const struct {
    hob_type type;
    Oid oid;
    hob_value_writer *write;
} WRITERS[] = {
    {HOB_INT, HOB_OID_INT2, write_int},        {HOB_INT, HOB_OID_INT4, write_int},
    {HOB_INT, HOB_OID_INT8, write_int},        {HOB_BOOL, HOB_OID_BOOL, write_bool},
    {HOB_DOUBLE, HOB_OID_FLOAT4, write_float}, {HOB_DOUBLE, HOB_OID_FLOAT8, write_float},
    {HOB_TIME, HOB_OID_TIMESTAMP, write_time}, {HOB_TIME, HOB_OID_TIMESTAMPTZ, write_time},
    {HOB_STRING, HOB_OID_UUID, write_uuid},    {HOB_JSON, HOB_OID_JSON, write_json},
    {HOB_JSON, HOB_OID_JSONB, write_jsonb},
};

hob_value_writer *hob__value_writer(hob_type type, Oid oid) {
    for (size_t i = 0; i < sizeof WRITERS / sizeof *WRITERS; i++)
        if (WRITERS[i].type == type && WRITERS[i].oid == oid)
            return WRITERS[i].write;
    if (type == HOB_STRING && hob__value_is_text(oid))
        return oid >= HOB_OID_FIRST_CUSTOM ? write_custom : write_text;
    return NULL;
}
