#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif

#ifdef ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE ((size_t)16) /* between two allocations */
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define RED_ZONE ((size_t)0)
#endif

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_MAKE_MEM_NOACCESS
#define VALGRIND_MAKE_MEM_NOACCESS(at, size) ((void)(at), (void)(size))
#define VALGRIND_MAKE_MEM_UNDEFINED(at, size) ((void)(at), (void)(size))
#endif

#define ALIGNMENT ((size_t)16)
#define FIRST_CHUNK ((size_t)4096)

typedef struct chunk {
    struct chunk *older;
    size_t size; /* with this head */
    char bytes[];
} chunk;

_Static_assert(sizeof(chunk) % ALIGNMENT == 0, "the first allocation of a chunk is aligned");

typedef struct deferred {
    struct deferred *earlier;
    void (*fn)(void *arg);
    void *arg;
} deferred;

struct hob_arena {
    size_t max;
    size_t held;        /* the sizes of all chunks */
    size_t used;        /* allocated since the last reset */
    size_t first_chunk; /* size of the next chunk when there is none */
    chunk *newest;      /* the others are full */
    char *at, *end;     /* the unused tail of newest */
    deferred *deferred; /* in the chunks */
    bool failed;
};

static void poison(void *at, size_t size) {
    ASAN_POISON_MEMORY_REGION(at, size);
    VALGRIND_MAKE_MEM_NOACCESS(at, size);
}

static void unpoison(void *at, size_t size) {
    ASAN_UNPOISON_MEMORY_REGION(at, size);
    VALGRIND_MAKE_MEM_UNDEFINED(at, size);
}

/* What an allocation takes of its chunk. */
static size_t span_of(size_t size) {
    return ((size > 0 ? size : 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + RED_ZONE;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static void empty_newest(hob_arena *arena) {
    chunk *chunk = arena->newest;
    arena->at = chunk ? chunk->bytes : NULL;
    arena->end = chunk ? (char *)chunk + chunk->size : NULL;
    if (chunk)
        poison(chunk->bytes, chunk->size - sizeof *chunk);
}

hob_arena *hob__arena_new(size_t max) {
    hob_arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL)
        return NULL;
    arena->max = smaller(max, PTRDIFF_MAX); /* what malloc can give at most; span_of then cannot overflow */
    arena->first_chunk = FIRST_CHUNK;
    return arena;
}

static void free_newest(hob_arena *arena) {
    chunk *chunk = arena->newest;
    arena->newest = chunk->older;
    arena->held -= chunk->size;
    free(chunk);
}

static void run_deferred(hob_arena *arena) {
    while (arena->deferred) {
        deferred *last = arena->deferred; /* fn may defer more */
        arena->deferred = last->earlier;
        last->fn(last->arg);
    }
}

void hob__arena_free(hob_arena *arena) {
    if (arena == NULL)
        return;
    run_deferred(arena);
    while (arena->newest)
        free_newest(arena);
    free(arena);
}

/* Several chunks become one as large as all of them: allocated when the next request begins, and then kept. */
void hob__arena_reset(hob_arena *arena) {
    run_deferred(arena);
    size_t enough = smaller(arena->held, HOB_ARENA_RETAINED);
    while (arena->newest && (arena->newest->older || arena->newest->size != enough))
        free_newest(arena);
    if (enough > 0)
        arena->first_chunk = enough;
    empty_newest(arena);
    arena->used = 0;
    arena->failed = false;
}

/* Doubles what the arena holds while that is little. */
static bool add_chunk(hob_arena *arena, size_t span) {
    size_t usual = arena->held == 0 ? arena->first_chunk : smaller(arena->held, HOB_ARENA_RETAINED);
    size_t needed = sizeof(chunk) + span;
    size_t size = needed > usual ? needed : smaller(usual, arena->max - arena->held);

    if (size < needed || size > arena->max - arena->held)
        return false;
    chunk *chunk = malloc(size);
    if (chunk == NULL)
        return false;
    chunk->older = arena->newest;
    chunk->size = size;
    arena->newest = chunk;
    arena->held += size;
    empty_newest(arena);
    return true;
}

static size_t room(const hob_arena *arena) {
    return (size_t)(arena->end - arena->at);
}

void *hob__arena_alloc(hob_arena *arena, size_t size) {
    if (arena->failed || size > arena->max || (span_of(size) > room(arena) && !add_chunk(arena, span_of(size)))) {
        arena->failed = true;
        return NULL;
    }
    char *block = arena->at;
    arena->at += span_of(size);
    arena->used += span_of(size);
    unpoison(block, size);
    return block;
}

void *hob__arena_calloc(hob_arena *arena, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        arena->failed = true;
        return NULL;
    }
    void *block = hob__arena_alloc(arena, total);
    return block ? memset(block, 0, total) : NULL;
}

static bool grow_in_place(hob_arena *arena, char *old, size_t old_size, size_t size) {
    if (old + span_of(old_size) != arena->at || size > arena->max || span_of(size) - span_of(old_size) > room(arena))
        return false;
    arena->at = old + span_of(size);
    arena->used += span_of(size) - span_of(old_size);
    unpoison(old + old_size, size - old_size);
    return true;
}

void *hob__arena_grow(hob_arena *arena, void *old, size_t old_size, size_t size) {
    if (arena->failed)
        return NULL;
    if (old && (size <= old_size || grow_in_place(arena, old, old_size, size)))
        return old;
    void *block = hob__arena_alloc(arena, size);
    if (block && old)
        memcpy(block, old, old_size);
    return block;
}

bool hob__arena_failed(const hob_arena *arena) {
    return arena->failed;
}

void hob__arena_fail(hob_arena *arena) {
    arena->failed = true;
}

size_t hob__arena_used(const hob_arena *arena) {
    return arena->used;
}

bool hob__arena_defer(hob_arena *arena, void (*fn)(void *arg), void *arg) {
    deferred *entry = hob__arena_alloc(arena, sizeof *entry);
    if (entry == NULL) {
        fn(arg);
        return false;
    }
    *entry = (deferred){arena->deferred, fn, arg};
    arena->deferred = entry;
    return true;
}

hob_text hob__arena_copy(hob_arena *arena, hob_text text) {
    char *copy = text.data ? hob__arena_alloc(arena, text.size + 1) : NULL;
    if (copy == NULL)
        return (hob_text){NULL, 0};
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return (hob_text){copy, text.size};
}

hob_text hob__arena_format(hob_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hob_text text = hob__arena_vformat(arena, format, args);
    va_end(args);
    return text;
}

hob_text hob__arena_vformat(hob_arena *arena, const char *format, va_list args) {
    char shorter[256]; /* most are, and are formatted once */
    va_list again;

    va_copy(again, args);
    int size = vsnprintf(shorter, sizeof shorter, format, args);
    hob_text text = {NULL, 0};
    if (size < 0) {
        arena->failed = true;
    } else if ((size_t)size < sizeof shorter) {
        text = hob__arena_copy(arena, (hob_text){shorter, (size_t)size});
    } else {
        char *block = hob__arena_alloc(arena, (size_t)size + 1);
        if (block)
            text = (hob_text){block, (size_t)vsnprintf(block, (size_t)size + 1, format, again)};
    }
    va_end(again);
    return text;
}
