/* RFC 8259 in front of json-c, whose strict mode takes single quotes, NaN, 1. and control characters. */
#ifndef HOB_JSON_CHECK_H
#define HOB_JSON_CHECK_H

#include "base/arena.h"
#include "hob.h"

#define HOB_JSON_DEPTH 32 /* nested arrays and objects */
/* Arrays and objects that any text may have; beyond, one for every 16 of its bytes. json-c takes up to 700 bytes for an
 * empty one, so a text of nothing else would take 250 times its own size. */
#define HOB_JSON_CONTAINERS 65536

/* NULL when text is one valid JSON value: grammar, UTF-8 (RFC 3629), no duplicate keys within an object (compared after
 * unescaping), no U+0000 in a key (json-c would cut it there; strings may have it), no unpaired surrogate escapes,
 * depth at most HOB_JSON_DEPTH, integers within int64 and no number that a double cannot hold. Else what is wrong, as
 * static text ("expected ':'"), and *offset, its byte offset. An empty text is wrong at 0. The arena holds keys
 * meanwhile; when it has failed, so has the check. */
const char *hob__json_fault(hob_arena *arena, hob_text text, size_t *offset) HOB_MUST_CHECK;

#endif
