/* Appends JSON to json-c's print buffer, byte for byte as json-c writes it. All return false when memory ran out. */
#ifndef HOB_JSON_EMIT_H
#define HOB_JSON_EMIT_H

#include <json-c/printbuf.h>
#include <limits.h>
#include <string.h>

#include "hob.h"

static inline bool hob__put(struct printbuf *out, const char *bytes, size_t size) {
    if ((size_t)(out->size - out->bpos) <= size)
        return size <= INT_MAX && printbuf_memappend(out, bytes, (int)size) >= 0;
    memcpy(out->buf + out->bpos, bytes, size);
    out->bpos += (int)size;
    out->buf[out->bpos] = '\0';
    return true;
}

bool hob__put_null(struct printbuf *out);
bool hob__put_string(struct printbuf *out, hob_text text); /* with its quotes */
bool hob__put_int(struct printbuf *out, int64_t value);
bool hob__put_double(struct printbuf *out, double value); /* 17 digits; NaN and infinity, which JSON lacks, as null */
bool hob__put_time(struct printbuf *out, int64_t us_since_1970); /* null outside of the years 1-9999 */

#endif
