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

#define HOB_SPARE_ROOM 32 /* behind what was asked for: a copy of a fixed size may run over */

/* At least size more bytes, and the spare ones, at out's end; NULL when memory ran out. What is written there is out's,
 * without a NUL, once hob__wrote says where it ends. */
char *hob__more_room(struct printbuf *out, size_t size);
static inline char *hob__room(struct printbuf *out, size_t size) {
    if ((size_t)(out->size - out->bpos) <= size + HOB_SPARE_ROOM)
        return hob__more_room(out, size);
    return out->buf + out->bpos;
}
static inline bool hob__wrote(struct printbuf *out, const char *end) {
    out->bpos = (int)(end - out->buf);
    return true;
}

bool hob__put_null(struct printbuf *out);
bool hob__put_string(struct printbuf *out, hob_text text); /* with its quotes */
bool hob__put_int(struct printbuf *out, int64_t value);
bool hob__put_double(struct printbuf *out, double value); /* 17 digits; NaN and infinity, which JSON lacks, as null */
bool hob__put_time(struct printbuf *out, int64_t us_since_1970); /* null outside of the years 1-9999 */

#endif
