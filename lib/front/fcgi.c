/* The front itself: accepting, and what its connections share. */
#include "front/front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "front/fcgi_private.h"

#define ACCEPTS_A_TURN 4            /* more would keep work from idle workers on the same socket */
#define ACCEPTS_EVERY (10 * HOB_US) /* of the turn before: an idle worker would have taken what came so long ago */
#define MOST_ACCEPTS 4096
#define PAUSE (100 * HOB_MS)
#define RETRY (100 * HOB_MS)

/* ---- Connections ---- */

static void connection_open(hob_front *front, int fd) {
    hob_connection *k = front->spare_connections;
    if (k != NULL)
        front->spare_connections = k->next;
    else
        k = malloc(sizeof(*k));
    if (k == NULL) {
        hob__log(HOB_LOG_ERROR, "a connection is refused: out of memory");
        close(fd);
        return;
    }
    *k = (hob_connection){.watch = {.fd = fd, .on_event = hob__connection_event}, .front = front, .ready = EPOLLIN};
    k->flight = hob__flight_open(fd);
    hob__records_init(&k->records, (uint32_t)front->services->config->max_in_flight);
    k->next = front->connections;
    k->link = &front->connections;
    if (k->next != NULL)
        k->next->link = &k->next;
    front->connections = k;
    front->connection_count++;
    if (hob__loop_watch(front->services->loop, &k->watch, HOB_CONNECTION_EVENTS)) {
        hob__connection_serve(k);
    } else {
        hob__log(HOB_LOG_ERROR, "a connection is refused: %m");
        hob__connection_close(k);
    }
}

void hob__connection_close(hob_connection *k) {
    hob__loop_unwatch(k->front->services->loop, &k->watch);
    hob__flight_close(k->flight);
    close(k->watch.fd);
    k->watch.fd = -1;
    *k->link = k->next;
    if (k->next != NULL)
        k->next->link = k->link;
    k->next = k->front->spare_connections;
    k->front->spare_connections = k;
    k->front->connection_count--;
}

static void forget_starved(hob_front *front) {
    front->starved = NULL;
    front->last_starved = &front->starved;
}

static void retry_at(hob_front *front, int64_t at) {
    hob__timer_set(front->services->loop, &front->retry, at);
}

/* Behind those that wait already. */
void hob__connection_serve(hob_connection *k) {
    hob_front *front = k->front;
    if (front->starved == NULL) {
        if (hob__exchange_start(k))
            return;
        hob__log(HOB_LOG_WARN, "no memory to serve a connection: it waits, and all that come behind it");
        retry_at(front, hob__clock_ns() + RETRY);
    }
    k->starved = true;
    k->next_starved = NULL;
    *front->last_starved = k;
    front->last_starved = &k->next_starved;
}

static void on_retry(hob_timer *timer) {
    hob_front *front = hob__container_of(timer, hob_front, retry);
    hob_connection *k;
    while ((k = front->starved) != NULL && hob__exchange_start(k)) {
        k->starved = false;
        front->starved = k->next_starved;
    }
    if (k == NULL)
        forget_starved(front);
    else
        retry_at(front, hob__clock_ns() + RETRY);
}

/* ---- Exchanges ---- */

static hob_arena *arena_new(hob_front *front) {
    if (front->spare_arena_count > 0)
        return front->spare_arenas[--front->spare_arena_count];
    return hob__arena_new((size_t)front->services->config->max_request_memory);
}

static void arena_free(hob_front *front, hob_arena *arena) {
    if (arena != NULL && front->spare_arena_count < HOB_SPARE_ARENAS)
        front->spare_arenas[front->spare_arena_count++] = arena;
    else
        hob__arena_free(arena);
}

static hob_exchange *spare_exchange(hob_front *front) {
    hob_exchange *x = front->spare_exchanges;
    if (x == NULL)
        return malloc(sizeof(*x));
    front->spare_exchanges = x->next_spare;
    return x;
}

hob_exchange *hob__exchange_new(hob_connection *k) {
    hob_front *front = k->front;
    hob_exchange *x = spare_exchange(front);
    if (x == NULL)
        return NULL;
    *x = (hob_exchange){
        .task = {.loop = front->services->loop, .deadline = HOB_FOREVER, .port = &x->port},
        .port = hob__connection_port(),
        .connection = k,
        .io_deadline = HOB_FOREVER,
    };
    x->task.arena = arena_new(front);
    if (x->task.arena != NULL)
        return x;
    hob__exchange_free(x);
    return NULL;
}

/* Its task may still be running its last lines, so its memory stays. */
void hob__exchange_free(hob_exchange *x) {
    hob_front *front = x->connection->front;
    arena_free(front, x->task.arena);
    x->next_spare = front->spare_exchanges;
    front->spare_exchanges = x;
    if (front->starved != NULL)
        retry_at(front, hob__clock_ns());
}

/* ---- Accepting ---- */

static void listen_again(hob_timer *timer) {
    hob_front *front = hob__container_of(timer, hob_front, resume);
    hob_loop *loop = front->services->loop;
    if (!hob__loop_watch(loop, &front->listener, EPOLLIN | EPOLLEXCLUSIVE))
        hob__timer_set(loop, timer, hob__clock_ns() + PAUSE);
}

/* Taken out of epoll and put back later: an EPOLLEXCLUSIVE entry cannot be modified, and a level-triggered one would
 * spin. */
static void pause_accepting(hob_front *front) {
    if (!front->pause_logged)
        hob__log(HOB_LOG_ERROR, "accepting pauses: %m");
    front->pause_logged = true;
    hob__loop_unwatch(front->services->loop, &front->listener);
    hob__timer_set(front->services->loop, &front->resume, hob__clock_ns() + PAUSE);
}

/* FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2), which libfcgi would check if it accepted. Unix sockets have permissions for
 * that. */
static bool allowed(const hob_front *front, const struct sockaddr_storage *peer) {
    char address[INET6_ADDRSTRLEN] = "";
    if (front->allowed_peers == NULL)
        return true;
    if (peer->ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)peer)->sin_addr, address, sizeof(address));
    else if (peer->ss_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)peer)->sin6_addr, address, sizeof(address));
    else
        return true;
    hob_text text = hob_text_of(address), list = hob_text_of(front->allowed_peers), item;
    const hob_text mapped = HOB_TEXT("::ffff:");
    if (hob__text_starts(text, mapped))
        text = hob_text_of(address + mapped.size);
    while (hob__text_split(&list, ',', &item))
        if (hob_text_equal(hob__text_trim(item), text))
            return true;
    return false;
}

static void accepted(hob_front *front, int fd, const struct sockaddr_storage *peer) {
    front->pause_logged = false;
    if (!allowed(front, peer)) {
        hob__log(HOB_LOG_WARN, "a connection is refused: its peer is not in FCGI_WEB_SERVER_ADDRS");
        close(fd);
        return;
    }
    if (peer->ss_family != AF_UNIX) /* a long answer is several writes */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    connection_open(front, fd);
}

/* What stands in the kernel's queue grows old there unseen. When that may be half as old as a request may become, since
 * each turn for so long left something behind, no worker on this socket keeps up; then all of it is taken over, so that
 * it can be refused in time. */
static int accepts_now(hob_front *front) {
    const hob_services *services = front->services;
    int64_t now = hob__loop_now(services->loop), long_time = services->config->max_queue_time / 2;
    uint64_t turn = hob__loop_turns(services->loop);
    if (front->listener_turn + 1 < turn)
        front->accepted_all = now;
    front->listener_turn = turn;
    if (long_time > 0 && now - front->accepted_all > long_time)
        return MOST_ACCEPTS;
    int64_t accepts = ACCEPTS_A_TURN + hob__loop_last_turn(services->loop) / ACCEPTS_EVERY;
    return accepts < MOST_ACCEPTS ? (int)accepts : MOST_ACCEPTS;
}

/* Those that were taken over wait for the end of that: it may not use up the time in which they can be served. */
static bool accepts_too_long(const hob_front *front) {
    int64_t longest = front->services->config->max_queue_time / 8;
    return longest > 0 && hob__clock_ns() - hob__loop_now(front->services->loop) > longest;
}

static void on_listener(hob_watch *watch, uint32_t events) {
    (void)events;
    hob_front *front = hob__container_of(watch, hob_front, listener);
    int accepts = accepts_now(front);
    for (int i = 0; i < accepts && (i < ACCEPTS_A_TURN || !accepts_too_long(front)); i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof(peer);
        int fd = accept4(watch->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(front, fd, &peer);
        } else if (errno == EAGAIN) {
            front->accepted_all = hob__loop_now(front->services->loop);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            pause_accepting(front); /* EMFILE, ENFILE, ENOMEM, or a socket that is of no use any more */
            return;
        }
    }
}

hob_front *hob__fcgi_open(hob_services *services, int fd) {
    hob_front *front = calloc(1, sizeof(*front));
    if (front == NULL)
        return NULL;
    front->services = services;
    front->listener = (hob_watch){.fd = fd, .on_event = on_listener};
    front->resume.on_expire = listen_again;
    front->retry.on_expire = on_retry;
    front->allowed_peers = getenv("FCGI_WEB_SERVER_ADDRS");
    forget_starved(front);
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
        hob__loop_watch(services->loop, &front->listener, EPOLLIN | EPOLLEXCLUSIVE))
        return front;
    int error = errno;
    free(front);
    errno = error;
    return NULL;
}

/* ---- The end ---- */

void hob__fcgi_stop_accepting(hob_front *front) {
    hob__timer_clear(front->services->loop, &front->resume);
    if (!front->stopped)
        hob__loop_unwatch(front->services->loop, &front->listener);
    front->stopped = true;
}

size_t hob__fcgi_connections(const hob_front *front) {
    return front->connection_count;
}

void hob__fcgi_close(hob_front *front) {
    hob__fcgi_stop_accepting(front);
    front->closing = true;
    hob__timer_clear(front->services->loop, &front->retry);
    forget_starved(front);
    hob_connection *next;
    for (hob_connection *k = front->connections; k != NULL; k = next) {
        next = k->next;
        if (k->exchange != NULL)
            hob__task_cancel(&k->exchange->task);
        else
            hob__connection_close(k);
    }
}

void hob__fcgi_free(hob_front *front) {
    while (front->spare_exchanges != NULL) {
        hob_exchange *x = front->spare_exchanges;
        front->spare_exchanges = x->next_spare;
        free(x);
    }
    while (front->spare_arena_count > 0)
        hob__arena_free(front->spare_arenas[--front->spare_arena_count]);
    while (front->spare_connections != NULL) {
        hob_connection *k = front->spare_connections;
        front->spare_connections = k->next;
        free(k);
    }
    free(front);
}
