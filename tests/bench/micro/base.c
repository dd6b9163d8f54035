#include "base/arena.h"
#include "base/clock.h"
#include "operations.h"

/* ---- arena: what a request takes, given back at once ---- */

static hob_arena *arena;

static void run_arena(void) {
    static const size_t sizes[] = {16, 700, 24, 37, 64, 16, 200, 37, 128, 48, 24, 16, 300, 64, 16, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *(volatile char *)hob__arena_alloc(arena, sizes[i]) = 1;
    hob__arena_reset(arena);
}

static void begin_arena(void) {
    arena = hob__arena_new((size_t)1 << 20);
    EXPECT(arena);
    run_arena();
    EXPECT(!hob__arena_failed(arena));
}

/* ---- time: RFC 3339 ---- */

static void run_time_format(void) {
    static int64_t us = INT64_C(1704067200000000);
    static char text[HOB_TIME_SIZE];
    us += INT64_C(4020000000);
    EXPECT(hob__time_format(us, text) == HOB_TIME_SIZE - 1);
}

const operation base_operations[] = {
    {.name = "arena", .begin = begin_arena, .run = run_arena},
    {.name = "time_format", .run = run_time_format},
    {0},
};
