#include "front/body.h"

#include <stdint.h>

/* A refused body is still read up to here, so that the web server gets to read the answer; a flood is not. */
#define DRAIN_FACTOR 8
#define DRAIN_MIN ((size_t)1024 * 1024)
#define FIRST_ROOM ((size_t)8192)

static bool drain(hob_body_source *source, size_t max) {
    char waste[4096];
    size_t left = max > DRAIN_MIN / DRAIN_FACTOR ? max * DRAIN_FACTOR : DRAIN_MIN;
    while (left > 0) {
        size_t want = left < sizeof(waste) ? left : sizeof(waste);
        if (source->read(source, waste, want) < want)
            return true;
        left -= want;
    }
    return false;
}

/* As much as said, else twice what there was, up to the limit. */
static bool grow(hob_arena *arena, char **bytes, size_t *room, size_t size, const hob_request *request, size_t max) {
    size_t next = *room == 0 ? FIRST_ROOM : *room * 2;
    if (request->content_length >= 0)
        next = (size_t)request->content_length;
    if (next > max)
        next = max;
    char *grown = hob__arena_grow(arena, *bytes, *room, next);
    if (grown == NULL)
        return false;
    *bytes = grown;
    *room = next;
    return size < next;
}

static hob_request_fault beyond(const hob_request *request, size_t max) {
    bool said = request->content_length >= 0 && (uint64_t)request->content_length <= max;
    return said ? HOB_REQUEST_WRONG_LENGTH : HOB_REQUEST_TOO_LARGE;
}

/* Reads what fits. false: it has ended; true: there is more, of which *next is the first byte. */
static bool fill(hob_body_source *source, char *bytes, size_t room, size_t *size, char *next) {
    if (*size < room)
        *size += source->read(source, bytes + *size, room - *size);
    return *size == room && source->read(source, next, 1) == 1;
}

bool hob__body_read(hob_body_source *source, hob_arena *arena, size_t max, hob_request *request) {
    bool too_large = request->content_length > 0 && (uint64_t)request->content_length > max;
    if (request->fault == HOB_REQUEST_GOOD && too_large)
        request->fault = HOB_REQUEST_TOO_LARGE;
    if (request->fault != HOB_REQUEST_GOOD)
        return drain(source, max);
    size_t limit = request->content_length >= 0 ? (size_t)request->content_length : max;
    size_t size = 0, room = 0;
    char *bytes = NULL, next = 0;
    while (fill(source, bytes, room, &size, &next)) {
        if (size == limit) {
            request->fault = beyond(request, max);
            return drain(source, max);
        }
        if (!grow(arena, &bytes, &room, size, request, max))
            goto no_memory;
        bytes[size++] = next;
    }
    request->body = (hob_text){bytes, size};
    if (request->content_length >= 0 && size != limit)
        request->fault = HOB_REQUEST_WRONG_LENGTH;
    return true;
no_memory:
    request->fault = HOB_REQUEST_NO_MEMORY;
    return drain(source, max);
}
