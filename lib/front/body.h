/* Reads a request's body under its limits, from wherever it comes. */
#ifndef HOB_FRONT_BODY_H
#define HOB_FRONT_BODY_H

#include "http/request.h"

typedef struct hob_body_source {
    /* Fills the buffer as far as the body goes: less than size means that it has ended or failed. */
    size_t (*read)(struct hob_body_source *source, char *buffer, size_t size);
} hob_body_source;

/* Into request->body, in the arena; a body beyond max, or not as long as it said, becomes request->fault, and is read
 * to its end without being kept, as is the body of a request that has a fault already. false: even that was too much,
 * and the source still has more. */
bool hob__body_read(hob_body_source *source, hob_arena *arena, size_t max, hob_request *request) HOB_MUST_CHECK;

#endif
