/* An answer: whole in the arena, written once by the front. */
#ifndef HOB_HTTP_RESPONSE_H
#define HOB_HTTP_RESPONSE_H

#include "base/arena.h"
#include "hob.h"
#include "http/request.h"

#define HOB_HEADER_BLOCK_MAX 4000 /* nginx's default buffer for it is one page */

#define HOB_SPARE_HEAD 384 /* Status, Content-Type, Content-Length, Retry-After and the longest X-Request-ID */

typedef struct hob_response {
    int status; /* 0: nothing answered yet */
    hob_pair *headers;
    size_t header_count, header_room;
    hob_text body;
    hob_text content_type;
    hob_text problem_detail; /* set when the body is a problem; the access log tells it */
    /* Of the 503 when memory ran out. headers may point into it: an answer is not copied as a struct. */
    hob_pair spare_headers[2];
    char spare_head[HOB_SPARE_HEAD];
} hob_response;

const char *hob__status_phrase(int status); /* "Not Found"; "" for codes without one */
/* Replaces a header of that name; both are copied. Values are cut of CR, LF and other control bytes. Content-Type is
 * set in its own member. Names that are no token, and those the head says by itself, are left out and logged. false
 * when the arena failed. */
bool hob__response_set(hob_response *response, hob_arena *arena, hob_text name, hob_text value);
hob_text hob__response_header(const hob_response *response, hob_text name); /* any case; Content-Type too */
hob_text hob__wire_text(hob_arena *arena, hob_text value); /* without control bytes; borrowed when it has none */
/* "Status: 200 OK\r\n..." (RFC 3875, 6.3) up to and with the empty line. Content-Length always, but on 1xx, 204 and
 * 304; headers that would pass HOB_HEADER_BLOCK_MAX are left out and logged. When there is no memory for it, the
 * response becomes the 503 of hob__response_out_of_memory and its head is returned, so ask for the head before using
 * the body. */
hob_text hob__response_head(hob_response *response, hob_arena *arena);
bool hob__response_has_body(const hob_response *response, hob_http_method method); /* false: HEAD, 1xx, 204, 304 */

/* Writes the problem document (RFC 9457) and returns the status: the one given, or 503 when memory ran out. instance
 * and detail may have no text. */
int hob__response_problem(hob_response *response, hob_arena *arena, int status, hob_text instance, hob_text detail);
/* The same with "errors": an array of {"pointer","detail"}; errors may be NULL, borrowed. */
int hob__response_problem_with(hob_response *response, hob_arena *arena, int status, hob_text instance, hob_text detail,
                               json_object *errors);
/* A problem with a type of its own: what it means goes beyond its status. */
typedef struct hob_problem_type {
    const char *uri, *title; /* title NULL: the status's phrase */
} hob_problem_type;
int hob__response_problem_typed(hob_response *response, hob_arena *arena, const hob_problem_type *type, int status,
                                hob_text instance, hob_text detail, json_object *errors);
/* Replaces whatever has been answered by a 503 that needs no memory, and logs it once. */
int hob__response_out_of_memory(hob_response *response, hob_text instance);

#endif
