/* A memcached used the obvious way: calls block, and a number stands under a key as text. */
#ifndef NAIVE_STORE_H
#define NAIVE_STORE_H

#include "hob.h"

typedef struct stored {
    bool found;
    int64_t number;
    uint64_t cas;
} stored;

stored store_get(hob_text key);
void store_set(hob_text key, int64_t number);
bool store_add(hob_text key, int64_t number); /* false: something stands there */
void store_cas(hob_text key, int64_t number, uint64_t cas);
void store_delete(hob_text key);

#endif
