/* What is measured: one operation each of a floor of lib/, on data as a worker sees it. */
#ifndef HOB_BENCH_OPERATIONS_H
#define HOB_BENCH_OPERATIONS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hob.h"

typedef struct operation {
    const char *name;    /* a list ends with an operation that has none */
    void (*begin)(void); /* once, before the first run; NULL: nothing to prepare */
    void (*run)(void);
    unsigned at_once; /* how many of it one run does; 0: one */
} operation;

extern const operation base_operations[], run_operations[], json_operations[], http_operations[];

/* An operation that took another way than it should, an error's for one, would be measured for nothing. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Input in memory of its own: where a literal lies, on which strlen and memcmp depend, is the linker's choice. */
static inline char *keep(const char *literal) {
    char *copy = strdup(literal);
    EXPECT(copy);
    return copy;
}

#endif
