/* The keys of the objects that are open while a text is read, to find duplicates: near-linear, whatever the keys. */
#ifndef HOB_JSON_KEYS_H
#define HOB_JSON_KEYS_H

#include "base/arena.h"
#include "json/check.h"

typedef struct hob_json_key {
    const char *data;
    uint32_t size;
    uint32_t hash;
} hob_json_key;

/* The keys of one object are the list's from base on, up to the next open object's. */
typedef struct hob_key_frame {
    uint32_t *slots; /* of keys counted from base, from 1; 0: free. Kept for the next object of that depth */
    uint32_t base;
    uint32_t capacity; /* of slots */
    uint32_t mask;     /* slots in use - 1; 0: so few keys that they are compared one by one */
} hob_key_frame;

typedef struct hob_keys {
    hob_arena *arena;
    uint64_t seed,
        factor; /* random, so that nobody can choose keys that collide; the factor odd. The rest begins as zeros */
    hob_json_key *list;
    uint32_t count, capacity;
    hob_key_frame frames[HOB_JSON_DEPTH];
} hob_keys;

void hob__keys_open(hob_keys *keys, unsigned depth);  /* an object begins */
void hob__keys_close(hob_keys *keys, unsigned depth); /* and ends */
/* key, unescaped, is borrowed until its object is closed. false when the object has it already, or memory ran out. */
bool hob__keys_add(hob_keys *keys, unsigned depth, hob_text key) HOB_MUST_CHECK;

#endif
