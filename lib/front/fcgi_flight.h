/*
 * Open connections and, of these, the requests whose answer has not begun, kept where a signal handler finds them
 * whatever has become of the heap: a worker that crashes or hangs still answers them all.
 */
#ifndef HOB_FRONT_FCGI_FLIGHT_H
#define HOB_FRONT_FCGI_FLIGHT_H

#include "base/arena.h"
#include "http/request.h"

#define HOB_FLIGHT_CGI 0 /* no request's in FastCGI: the answer is written as it is */

typedef struct hob_flight {
    int fd;               /* of a connection, or CGI's output; 0: a spare one */
    uint16_t fcgi_id;     /* the request's, in FastCGI; HOB_FLIGHT_CGI */
    hob_request *request; /* NULL: none is in flight on this connection */
    const hob_arena *arena;
    struct hob_flight *next_spare;
} hob_flight;

/* NULL: there are too many. The connection is served all the same, and NULL is none to the functions that follow. */
hob_flight *hob__flight_open(int fd);
void hob__flight_begin(hob_flight *flight, hob_request *request, const hob_arena *arena, int fcgi_id);
void hob__flight_end(hob_flight *flight);   /* before the first byte of the answer leaves */
void hob__flight_close(hob_flight *flight); /* before the connection is closed */

/* For signal handlers in the loop's thread. */
const hob_flight *hob__flight_next(const hob_flight *previous); /* the requests in flight, from NULL to NULL */
void hob__flight_hang_up_idle(void); /* so that the web server sends nothing more to this worker */
/* Sends a whole problem document with the request's id and lets the web server know that the connection ends. false:
 * it was not taken. */
bool hob__flight_answer(const hob_flight *flight, int status, const char *detail);

#endif
