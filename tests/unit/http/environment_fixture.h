/* One request, read from an environment. */
#ifndef HOB_TEST_HTTP_ENVIRONMENT_FIXTURE_H
#define HOB_TEST_HTTP_ENVIRONMENT_FIXTURE_H

#include "fixture.h"

static hob_arena *arena;
static hob_request request;

static inline int make_arena(void **state) {
    (void)state;
    arena = hob__arena_new(FIXTURE_MEMORY);
    return arena ? 0 : -1;
}

static inline int drop_arena(void **state) {
    (void)state;
    hob__arena_free(arena);
    return 0;
}

static inline void read_with(const char *mount, char *const *environment) {
    hob__arena_reset(arena);
    memset(&request, 0xa5, sizeof request); /* every member must be set */
    hob__request_from_environment(&request, arena, environment, mount);
}

#endif
