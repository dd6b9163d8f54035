/*
 * The memory of one request: bump allocation out of chunks, given back all at once.
 * Under ASan and valgrind the unused tail is poisoned, so an overrun inside the arena is still found.
 */
#ifndef HOB_BASE_ARENA_H
#define HOB_BASE_ARENA_H

#include <stdarg.h>

#include "hob.h"

typedef struct hob_arena hob_arena;

/* max: bytes it may ever hold; beyond, allocations fail. NULL when memory ran out. */
hob_arena *hob__arena_new(size_t max) HOB_MUST_CHECK;
void hob__arena_free(hob_arena *arena); /* runs the deferred functions first; NULL is fine */
/* Runs the deferred functions, last first, and empties the arena. Keeps at most HOB_ARENA_RETAINED bytes for the next
 * request, so a steady state allocates nothing. */
void hob__arena_reset(hob_arena *arena);

#define HOB_ARENA_RETAINED ((size_t)64 * 1024)

/* NULL when the maximum is reached or memory ran out. The arena is then failed until it is reset, and all that follows
 * gets NULL too: what was built from a missing piece goes nowhere. Aligned to 16. */
void *hob__arena_alloc(hob_arena *arena, size_t size) HOB_MUST_CHECK;
void *hob__arena_calloc(hob_arena *arena, size_t count, size_t size) HOB_MUST_CHECK; /* zeroed, overflow checked */
/* Grows the newest allocation in place where it can, else copies. NULL as above; the old block stays good. */
void *hob__arena_grow(hob_arena *arena, void *old, size_t old_size, size_t size) HOB_MUST_CHECK;
bool hob__arena_failed(const hob_arena *arena);
void hob__arena_fail(hob_arena *arena); /* marks it failed: an allocation made elsewhere for the request failed */
size_t hob__arena_used(const hob_arena *arena);

/* false when there was no memory to remember it: fn has then been run at once. */
bool hob__arena_defer(hob_arena *arena, void (*fn)(void *arg), void *arg);

/* NUL-terminated; no text (data NULL) when memory ran out, and for the copy of no text. */
hob_text hob__arena_copy(hob_arena *arena, hob_text text);
hob_text hob__arena_format(hob_arena *arena, const char *format, ...) HOB_PRINTF(2, 3);
hob_text hob__arena_vformat(hob_arena *arena, const char *format, va_list args) HOB_PRINTF(2, 0);

#endif
