/* Values as PostgreSQL's binary format has them, by type. */
#ifndef HOB_JSON_VALUE_H
#define HOB_JSON_VALUE_H

#include <libpq-fe.h>

#include "hob.h"
#include "json/emit.h"

/* Of src/include/catalog/pg_type.dat; they never change. */
enum {
    HOB_OID_BOOL = 16,
    HOB_OID_BYTEA = 17,
    HOB_OID_NAME = 19,
    HOB_OID_INT8 = 20,
    HOB_OID_INT2 = 21,
    HOB_OID_INT4 = 23,
    HOB_OID_TEXT = 25,
    HOB_OID_JSON = 114,
    HOB_OID_FLOAT4 = 700,
    HOB_OID_FLOAT8 = 701,
    HOB_OID_UNKNOWN = 705,
    HOB_OID_BPCHAR = 1042,
    HOB_OID_VARCHAR = 1043,
    HOB_OID_DATE = 1082,
    HOB_OID_TIMESTAMP = 1114,
    HOB_OID_TIMESTAMPTZ = 1184,
    HOB_OID_NUMERIC = 1700,
    HOB_OID_UUID = 2950,
    HOB_OID_JSONB = 3802,
    HOB_OID_FIRST_CUSTOM = 16384 /* enums and extensions' types, citext among them; taken for text */
};

#define HOB_UUID_BYTES 16
#define HOB_UUID_TEXT 36

/* value is not NULL, in SQL's sense. false when memory ran out. */
typedef bool hob_value_writer(struct printbuf *out, const char *value, size_t size);

/* The one that writes the type as a field of that type; NULL when it does not fit. */
hob_value_writer *hob__value_writer(hob_type type, Oid oid);

/* Each reads one type of value; false when oid is of another. size is that of the type. */
bool hob__value_int(Oid oid, const char *value, size_t size, int64_t *out) HOB_MUST_CHECK;
bool hob__value_bool(Oid oid, const char *value, size_t size, bool *out) HOB_MUST_CHECK;
bool hob__value_double(Oid oid, const char *value, size_t size, double *out) HOB_MUST_CHECK;
/* Microseconds since 1970 UTC; infinity is 0. */
bool hob__value_time(Oid oid, const char *value, size_t size, int64_t *out) HOB_MUST_CHECK;
bool hob__value_is_text(Oid oid);                                /* the bytes are the text */
void hob__uuid_text(const char *value, char out[HOB_UUID_TEXT]); /* not terminated */
const char *hob__value_type_name(Oid oid);                       /* for messages: "text", or "another type" */

#endif
