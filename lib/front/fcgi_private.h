/*
 * Inside the FastCGI front. A connection is a socket of the web server, often kept for many requests; an exchange is
 * one request with its answer, in a task. libfcgi parses the records; its reading and writing come back here through
 * run/port.h and park the task.
 *
 * A connection, and where it is:
 *   idle     front->connections alone; an event starts an exchange
 *   starved  also in front->starved: no memory for an exchange; tried again until there is
 *   served   also k->exchange; back to idle, or closed, when the exchange ends
 *   closed   front->spare_connections
 * An exchange is either that of a connection, or in front->spare_exchanges, so an idle connection holds none.
 */
#ifndef HOB_FRONT_FCGI_PRIVATE_H
#define HOB_FRONT_FCGI_PRIVATE_H

#include <fcgiapp.h>

#include "front/fcgi_flight.h"
#include "front/front.h"
#include "front/records.h"
#include "run/port.h"

#define HOB_SPARE_ARENAS 128 /* kept for the next exchanges, each with HOB_ARENA_RETAINED bytes */

typedef struct hob_exchange hob_exchange;

typedef struct hob_connection {
    hob_watch watch; /* its fd is -1 once closed */
    hob_front *front;
    hob_exchange *exchange;
    hob_flight *flight;                  /* has a request from its parameters read to the first byte of its answer */
    struct hob_connection *next, **link; /* front->connections; link is the pointer that points here */
    struct hob_connection *next_starved;
    hob_records records;
    uint32_t ready;  /* EPOLLIN, EPOLLOUT: edges not yet used up */
    uint32_t awaits; /* what the exchange is parked for */
    bool hangup;     /* the peer is gone, or at least says no more */
    bool starved;
} hob_connection;

struct hob_exchange {
    hob_task task;
    hob_port port;
    hob_connection *connection;
    hob_exchange *next_spare;
    FCGX_Request fcgi;
    hob_request request;
    hob_response response;
    int64_t started;     /* when the first byte was read; 0 before */
    int64_t io_deadline; /* of reading the request, then of writing the answer */
    unsigned reads;
    bool idle;      /* nothing of a request had come: not a failure */
    bool timed_out; /* waiting for the peer */
    bool write_failed;
    char *held; /* what libfcgi has written of an answer that leaves in one piece; in the arena */
    size_t held_size, held_room;
};

struct hob_front {
    hob_services *services;
    hob_watch listener;
    hob_timer resume;       /* set while accepting is paused */
    uint64_t listener_turn; /* the last in which there was something to accept */
    int64_t accepted_all;   /* when there last was nothing more */
    bool stopped, pause_logged;
    bool closing; /* no connection is kept any longer */
    hob_connection *connections, *spare_connections;
    size_t connection_count;
    hob_connection *starved, **last_starved;
    hob_timer retry; /* set while some are starved */
    hob_exchange *spare_exchanges;
    size_t spare_arena_count;
    hob_arena *spare_arenas[HOB_SPARE_ARENAS];
    const char *allowed_peers;
    uint8_t scratch[8192]; /* what was just read and not yet filtered: used between two waits only */
};

/* fcgi.c */
void hob__connection_close(hob_connection *k);
hob_exchange *hob__exchange_new(hob_connection *k) HOB_MUST_CHECK; /* NULL: no memory */
void hob__exchange_free(hob_exchange *x);
void hob__connection_serve(hob_connection *k); /* now, or as soon as there is memory for it */

/* fcgi_connection.c */
#define HOB_CONNECTION_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)
void hob__connection_event(hob_watch *watch, uint32_t events);
hob_port hob__connection_port(void);
/* From now on what libfcgi writes is held, up to size bytes, until it is let go. Without memory it is not. */
void hob__connection_hold(hob_connection *k, size_t size);
void hob__connection_let_go(hob_connection *k);
void hob__connection_linger(hob_connection *k);

/* fcgi_exchange.c */
bool hob__exchange_start(hob_connection *k) HOB_MUST_CHECK; /* false: no memory */

#endif
