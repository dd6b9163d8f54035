/* Text is pointer and length (hob_text); NUL only at the border to a C library. */
#ifndef HOB_BASE_TEXT_H
#define HOB_BASE_TEXT_H

#include "hob.h"

bool hob__text_equal_nocase(hob_text a, hob_text b); /* ASCII case */
static inline bool hob__text_starts(hob_text text, hob_text prefix) {
    return text.size >= prefix.size && (prefix.size == 0 || memcmp(text.data, prefix.data, prefix.size) == 0);
}
extern const char hob__digit_pairs[200]; /* "000102...99" */

uint32_t hob__text_hash(hob_text text); /* FNV-1a, not keyed: outsiders can make texts that share one */
hob_text hob__text_trim(hob_text text); /* ASCII white space */
/* Takes what stands before the first separator off *rest (and the separator), the whole rest when there is none.
 * false once *rest has no text (data NULL); "a," gives "a", then "". */
bool hob__text_split(hob_text *rest, char separator, hob_text *part);
/* Decimal, an optional '-', no blanks, no '+', within int64. */
bool hob__text_to_int(hob_text text, int64_t *out) HOB_MUST_CHECK;
/* Length of the longest valid UTF-8 prefix (RFC 3629: no overlongs, no surrogates, up to U+10FFFF). */
size_t hob__utf8_valid_prefix(hob_text text);
size_t hob__utf8_first(hob_text text);   /* bytes of its first character; 0 when that is not valid, or text is empty */
size_t hob__utf8_length(hob_text valid); /* characters (code points) */
bool hob__text_has_control(hob_text text); /* U+0000-001F, U+007F, U+0080-009F */

#endif
