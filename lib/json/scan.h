/* What bytes of a JSON string are not written as themselves, several at a time; shared by the check and the writer. */
#ifndef HOB_JSON_SCAN_H
#define HOB_JSON_SCAN_H

#include <string.h>

#include "hob.h"

#define HOB_EVERY_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Not 0 when one of the eight bytes is a control character, '"' or '\\'. */
static inline uint64_t hob__json_special(uint64_t eight) {
    uint64_t quote = eight ^ HOB_EVERY_BYTE('"'), backslash = eight ^ HOB_EVERY_BYTE('\\');
    uint64_t below = ((eight - HOB_EVERY_BYTE(0x20)) & ~eight) | ((quote - HOB_EVERY_BYTE(1)) & ~quote) |
                     ((backslash - HOB_EVERY_BYTE(1)) & ~backslash);
    return below & HOB_EVERY_BYTE(0x80);
}

static inline uint64_t hob__load_eight(const char *at) {
    uint64_t eight;
    memcpy(&eight, at, sizeof eight);
    return eight;
}

typedef unsigned char hob__sixteen __attribute__((vector_size(16)));

static inline hob__sixteen hob__load_sixteen(const char *at) {
    hob__sixteen sixteen;
    memcpy(&sixteen, at, sizeof sixteen);
    return sixteen;
}

/* As hob__json_special, of sixteen bytes at once. */
static inline bool hob__json_special_in(hob__sixteen bytes) {
    uint64_t halves[2];
    hob__sixteen special = (hob__sixteen)((bytes < 0x20) | (bytes == '"') | (bytes == '\\'));
    memcpy(halves, &special, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

static inline bool hob__json_plain(unsigned char c) {
    return c >= 0x20 && c != '"' && c != '\\';
}

#endif
