/* The bytes of a connection: reading through the filter, writing, and waiting for the peer. */
#include <errno.h>
#include <fastcgi.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "front/fcgi_private.h"

#define READS_IN_A_ROW 32 /* of a peer that sends faster than we read; then others have their turn */
#define LINGER HOB_S

/* FCGI_ABORT_REQUEST for the request that is being worked on. The record stays unread, as all that comes meanwhile. */
static bool is_aborted(const hob_connection *k) {
    FCGI_Header header;
    return k->records.state == HOB_RECORDS_ENDED &&
           recv(k->watch.fd, &header, sizeof(header), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof(header) &&
           header.type == FCGI_ABORT_REQUEST &&
           (header.requestIdB1 << 8 | header.requestIdB0) == k->exchange->fcgi.requestId;
}

void hob__connection_event(hob_watch *watch, uint32_t events) {
    hob_connection *k = hob__container_of(watch, hob_connection, watch);
    if (watch->fd < 0)
        return;
    k->ready |= events & (EPOLLIN | EPOLLOUT);
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        k->hangup = true;
        k->ready |= EPOLLIN | EPOLLOUT; /* neither will block any more */
    }
    if (k->exchange == NULL) {
        if (!k->starved)
            hob__connection_serve(k);
        return;
    }
    if (k->awaits & k->ready)
        hob__task_wake(&k->exchange->task);
    if (k->hangup || ((events & EPOLLIN) && is_aborted(k)))
        hob__task_cancel(&k->exchange->task);
}

/* false: the deadline passed, or the exchange was cancelled. */
static bool await(hob_connection *k, uint32_t event) {
    hob_exchange *x = k->exchange;
    hob_wake wake = HOB_WAKE_READY;
    k->awaits = event;
    while (!(k->ready & event) && wake == HOB_WAKE_READY)
        wake = hob__task_park(&x->task, x->io_deadline);
    k->awaits = 0;
    if (k->ready & event)
        return true;
    x->timed_out = wake == HOB_WAKE_TIMEOUT;
    errno = x->timed_out ? ETIMEDOUT : ECANCELED;
    return false;
}

/* EPOLLOUT is watched only meanwhile: each answer that drains would wake the loop again. */
static bool await_writable(hob_connection *k) {
    hob_loop *loop = k->front->services->loop;
    k->ready &= ~(uint32_t)EPOLLOUT;
    if (!hob__loop_rewatch(loop, &k->watch, HOB_CONNECTION_EVENTS | EPOLLOUT))
        return false;
    bool writable = await(k, EPOLLOUT);
    int error = errno;
    if (!hob__loop_rewatch(loop, &k->watch, HOB_CONNECTION_EVENTS))
        return false;
    errno = error;
    return writable;
}

static bool write_all(hob_connection *k, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = send(k->watch.fd, bytes, size, MSG_NOSIGNAL);
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (!await_writable(k))
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* Logs the first failure; what follows it fails quietly. */
static bool send_to_peer(hob_connection *k, const uint8_t *bytes, size_t size) {
    hob_exchange *x = k->exchange;
    if (!x->write_failed && !write_all(k, bytes, size)) {
        x->write_failed = true;
        hob__log(k->hangup || errno == EPIPE || errno == ECONNRESET ? HOB_LOG_DEBUG : HOB_LOG_WARN,
                 "an answer could not be handed to the web server: %m");
    }
    return !x->write_failed;
}

static ssize_t read_some(hob_connection *k, size_t want) {
    ssize_t n;
    do
        n = read(k->watch.fd, k->front->scratch, want);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        k->hangup = true;
    /* A short read has emptied the socket (epoll(7)), but then the end may stand behind it. */
    if (n < 0 ? errno == EAGAIN : (size_t)n < want && !k->hangup)
        k->ready &= ~(uint32_t)EPOLLIN;
    return n;
}

static void note_start(hob_exchange *x) {
    if (x->started != 0)
        return;
    x->started = hob__clock_ns();
    x->io_deadline = hob__time_after(x->started, x->connection->front->services->config->read_timeout);
}

/* Reads once. What is left for libfcgi, 0 at the end, -1 with errno: EAGAIN when nothing is left for it. */
static ssize_t receive(hob_connection *k, uint8_t *into, size_t room) {
    size_t most = room < sizeof(k->front->scratch) ? room : sizeof(k->front->scratch);
    ssize_t n = read_some(k, most - HOB_RECORD_HEADER);
    if (n <= 0)
        return n;
    note_start(k->exchange);
    hob_records_out out = {.bytes = into};
    if (!hob__records_filter(&k->records, k->front->scratch, (size_t)n, &out)) {
        hob__log(HOB_LOG_WARN, "a FastCGI connection is closed: %s", k->records.fault);
        errno = EPROTO;
        return -1;
    }
    if (!send_to_peer(k, out.reply, out.reply_size))
        return -1;
    errno = EAGAIN;
    return out.size > 0 ? (ssize_t)out.size : -1;
}

static hob_exchange *exchange_of(hob_port *port) {
    return hob__container_of(port, hob_exchange, port);
}

static ssize_t port_read(hob_port *port, int fd, void *buffer, size_t size) {
    (void)fd;
    hob_exchange *x = exchange_of(port);
    hob_connection *k = x->connection;
    for (;;) {
        if (++x->reads % READS_IN_A_ROW == 0)
            (void)hob__task_yield(&x->task);
        ssize_t n = receive(k, buffer, size);
        if (n >= 0 || errno != EAGAIN)
            return n;
        if (k->ready & EPOLLIN)
            continue;
        if (hob__records_idle(&k->records)) {
            x->idle = true;
            return -1;
        }
        if (!await(k, EPOLLIN))
            return -1;
    }
}

static bool send_answer(hob_connection *k, const void *bytes, size_t size) {
    hob__flight_end(k->flight);
    return send_to_peer(k, bytes, size);
}

void hob__connection_hold(hob_connection *k, size_t size) {
    hob_exchange *x = k->exchange;
    x->held = hob__arena_alloc(x->task.arena, size);
    x->held_room = x->held ? size : 0;
}

void hob__connection_let_go(hob_connection *k) {
    hob_exchange *x = k->exchange;
    size_t size = x->held_size;
    x->held_size = x->held_room = 0;
    if (size > 0)
        (void)send_answer(k, x->held, size);
}

static ssize_t port_write(hob_port *port, int fd, const void *buffer, size_t size) {
    (void)fd;
    hob_exchange *x = exchange_of(port);
    if (size <= x->held_room - x->held_size) {
        memcpy(x->held + x->held_size, buffer, size);
        x->held_size += size;
        return (ssize_t)size;
    }
    hob__connection_let_go(x->connection);
    if (send_answer(x->connection, buffer, size))
        return (ssize_t)size;
    errno = EPIPE;
    return -1;
}

/* The socket is ours to close: libfcgi would wait for the peer to close first. */
static int port_close(hob_port *port, int fd) {
    (void)port;
    (void)fd;
    return 0;
}

hob_port hob__connection_port(void) {
    return (hob_port){.read = port_read, .write = port_write, .close = port_close};
}

/* Closing a socket with unread bytes resets it, and the peer may lose the answer: so what it still sends is read for a
 * while. */
void hob__connection_linger(hob_connection *k) {
    hob_exchange *x = k->exchange;
    (void)shutdown(k->watch.fd, SHUT_WR);
    x->io_deadline = hob__clock_ns() + LINGER;
    while (!x->task.cancelled && hob__clock_ns() < x->io_deadline) {
        ssize_t n = read_some(k, sizeof(k->front->scratch));
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return;
        if (n > 0)
            (void)hob__task_yield(&x->task);
        else if (!await(k, EPOLLIN))
            return;
    }
}
