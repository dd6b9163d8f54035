/* A body into the application's struct, by a field table; every fault at once. */
#ifndef HOB_JSON_BIND_H
#define HOB_JSON_BIND_H

#include "base/arena.h"
#include "hob.h"

typedef enum hob_bind_result {
    HOB_BIND_GOOD,
    HOB_BIND_NO_JSON,  /* 400: detail says what, and at which byte offset */
    HOB_BIND_INVALID,  /* 422: errors is a json-c array of {"pointer","detail"}, owned by the arena */
    HOB_BIND_NO_MEMORY /* the arena has failed */
} hob_bind_result;

/* partial: fields may be left out and then keep what *into holds; null stays invalid for a field that is not optional.
 * An item of a list is always whole. Unknown fields and fields of the server are faults, in the order of the fields and
 * then of the body, at most 100. Pointers are RFC 6901. Optional fields that are absent or null become 0, false, no
 * text, an empty list. Text is copied into the arena. Unless GOOD, *into holds the fields that were good. */
hob_bind_result hob__bind(hob_arena *arena, hob_text body, const hob_field *fields, bool partial, void *into,
                          hob_text *detail, json_object **errors) HOB_MUST_CHECK;
/* One fault more for *errors, which is made when it is NULL. The arena has failed when memory ran out. */
void hob__fault_add(hob_arena *arena, json_object **errors, hob_text pointer, hob_text detail);

#endif
