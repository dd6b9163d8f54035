/* One request with its answer, from libfcgi's accept to its end. */
#include <fastcgi.h>

#include "base/log.h"
#include "front/body.h"
#include "front/fcgi_private.h"

#define LONG_AGO (5 * HOB_MS)
#define RECORD 8184           /* bytes of an answer that libfcgi sends at once, */
#define RECORD_MORE 16        /* what it adds to them, */
#define END_MORE 64           /* and in the end */
#define HELD_MOST (64 * 1024) /* of an answer; copying more would cost more than sending it bit by bit */

typedef struct stdin_source {
    hob_body_source source;
    FCGX_Stream *in;
} stdin_source;

static size_t read_stdin(hob_body_source *source, char *buffer, size_t size) {
    return (size_t)FCGX_GetStr(buffer, (int)size, ((stdin_source *)source)->in);
}

/* Always to its end: what stayed behind would be taken for records of the next request. */
static void read_body(hob_exchange *x) {
    stdin_source source = {{read_stdin}, x->fcgi.in};
    hob_request *request = &x->request;
    size_t max = (size_t)x->connection->front->services->config->max_body;
    if (!hob__body_read(&source.source, x->task.arena, max, request))
        return; /* its rest stays unread, so the connection is not kept */
    if (x->timed_out && (request->fault == HOB_REQUEST_GOOD || request->fault == HOB_REQUEST_WRONG_LENGTH))
        request->fault = HOB_REQUEST_TIMED_OUT;
}

/* NULL when there is a request to be answered, else why there is none. libfcgi hands on what it has when a stream
 * breaks off, so each step is followed by a look at the stream's error. */
static const char *read_request(hob_exchange *x) {
    const hob_config *config = x->connection->front->services->config;
    if (FCGX_GetError(x->fcgi.in) != 0)
        return "its parameters were cut off";
    if (x->fcgi.role != FCGI_RESPONDER)
        return "only the role of a responder is served";
    hob__request_from_environment(&x->request, x->task.arena, x->fcgi.envp, config->mount);
    x->request.started = x->started;
    hob__flight_begin(x->connection->flight, &x->request, x->task.arena, x->fcgi.requestId);
    if (x->request.truncated_parameters || x->request.method_name.size == 0)
        return "it has no REQUEST_METHOD";
    read_body(x);
    return FCGX_GetError(x->fcgi.in) == 0 || x->timed_out ? NULL : "its body was cut off";
}

static void put(hob_exchange *x, hob_text text) {
    const size_t most = 1 << 30; /* libfcgi counts in int */
    while (text.size > 0) {
        size_t n = text.size < most ? text.size : most;
        if (FCGX_PutStr(text.data, (int)n, x->fcgi.out) < 0)
            return; /* logged where it was written */
        text.data += n;
        text.size -= n;
    }
}

/* Whether the peer went while its request waited for its turn. One that has only said its last word still listens; the
 * difference can be seen on unix sockets. */
static bool abandoned(const hob_exchange *x) {
    struct pollfd peer = {.fd = x->connection->watch.fd};
    bool has_waited = hob__clock_ns() - hob__loop_now(x->task.loop) > LONG_AGO;
    return has_waited && poll(&peer, 1, 0) > 0 && (peer.revents & (POLLHUP | POLLERR));
}

/* An answer of several records leaves with one write: each would wake the web server. */
static void hold(hob_exchange *x, size_t size) {
    if (size > RECORD - END_MORE && size <= HELD_MOST)
        hob__connection_hold(x->connection, size + (size / RECORD + 1) * RECORD_MORE + END_MORE);
}

static void answer(hob_exchange *x) {
    hob_services *services = x->connection->front->services;
    if (x->connection->hangup)
        hob__task_cancel(&x->task); /* the web server has given it up: nothing more is waited for */
    hob__services_serve(services, &x->task, &x->request, &x->response);
    x->task.deadline = HOB_FOREVER;
    x->io_deadline = hob__time_after(hob__clock_ns(), services->config->write_timeout);
    hob_text head = hob__response_head(&x->response, x->task.arena);
    hob_text body = hob__response_has_body(&x->response, x->request.method) ? x->response.body : (hob_text){0};
    hold(x, head.size + body.size);
    put(x, head);
    put(x, body);
}

/* Sends what is buffered with the end of the request. Whether the connection is kept. */
static bool finish(hob_exchange *x) {
    hob_connection *k = x->connection;
    (void)FCGX_FClose(x->fcgi.err);
    (void)FCGX_FClose(x->fcgi.out);
    hob__connection_let_go(k);
    bool drained = hob__records_drained(&k->records);
    hob__records_next(&k->records);
    if (!drained && !x->write_failed)
        hob__connection_linger(k);
    return drained && x->fcgi.keepConnection && !x->write_failed;
}

/* Whether the connection is kept. */
static bool serve(hob_exchange *x) {
    hob_connection *k = x->connection;
    FCGX_InitRequest(&x->fcgi, -1, 0); /* no listening socket: a connection that fails must not become an accept */
    x->fcgi.ipcFd = k->watch.fd;
    x->fcgi.keepConnection = 1; /* else the first accept closes the connection */
    bool accepted = FCGX_Accept_r(&x->fcgi) == 0;
    if (x->idle)
        return true;
    const char *fault = accepted ? read_request(x) : "its parameters were cut off";
    if (accepted && k->records.aborted)
        return finish(x);
    if (fault == NULL && !abandoned(x)) {
        answer(x);
        return finish(x);
    }
    if (fault == NULL)
        fault = "its client has gone";
    if (x->started != 0 && k->records.fault == NULL)
        hob__log(HOB_LOG_INFO, "a request is dropped: %s", x->timed_out ? "it did not arrive in time" : fault);
    return false;
}

static void run(hob_task *task) {
    hob_exchange *x = hob__container_of(task, hob_exchange, task);
    hob_connection *k = x->connection;
    bool kept = serve(x);
    hob__flight_end(k->flight);
    hob__arena_reset(task->arena); /* what it runs may still look at the environment, which is libfcgi's */
    FCGX_Free(&x->fcgi, 0);
    k->exchange = NULL;
    if (!kept || k->hangup || k->front->closing)
        hob__connection_close(k);
    else if (k->ready & EPOLLIN)
        hob__connection_serve(k);
    hob__exchange_free(x);
}

bool hob__exchange_start(hob_connection *k) {
    hob_exchange *x = hob__exchange_new(k);
    if (x == NULL)
        return false;
    if (hob__task_start(&x->task, run)) {
        k->exchange = x;
        return true;
    }
    hob__exchange_free(x);
    return false;
}
