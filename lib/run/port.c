#include "run/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fastcgi.h>
#include <fcgiapp.h>
#include <fcgios.h>
#include <libmemcached/memcached.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* What libraries look up by name at run time must be visible, whatever the rest of the build is. */
#define STAND_IN __attribute__((visibility("default")))
#define LINGER_MS 2000 /* libfcgi's default */

_Static_assert(POLLIN == EPOLLIN && POLLPRI == EPOLLPRI && POLLOUT == EPOLLOUT && POLLRDHUP == EPOLLRDHUP,
               "events of poll are passed to epoll as they are");

/* The stand-ins that this thread has come through; hob__port_reached looks at it. */
enum { THROUGH_READ = 1, THROUGH_WRITE = 2, THROUGH_CLOSE = 4, THROUGH_POLL = 8 };
static _Thread_local unsigned through;

static hob_port *current_port(unsigned stand_in) {
    through |= stand_in;
    hob_task *task = hob__task_self();
    return task ? task->port : NULL;
}

static size_t within_int(size_t size) {
    return size < INT_MAX ? size : INT_MAX; /* the results are int */
}

STAND_IN int OS_Read(int fd, char *buf, size_t len) {
    hob_port *port = current_port(THROUGH_READ);
    return (int)(port && port->read ? port->read(port, fd, buf, within_int(len)) : read(fd, buf, within_int(len)));
}

STAND_IN int OS_Write(int fd, char *buf, size_t len) {
    hob_port *port = current_port(THROUGH_WRITE);
    return (int)(port && port->write ? port->write(port, fd, buf, within_int(len)) : write(fd, buf, within_int(len)));
}

/* Closing while the peer's bytes are unread resets the connection, and the peer loses the end of the answer: so the
 * peer is given some time to close first, and what it still sends is thrown away. */
static void linger(int fd) {
    char scrap[1024];
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int64_t end = hob__clock_ns() + LINGER_MS * HOB_MS;
    int64_t left = LINGER_MS;
    while (left > 0 && poll(&readable, 1, (int)left) > 0 && read(fd, scrap, sizeof(scrap)) > 0)
        left = (end - hob__clock_ns()) / HOB_MS;
}

STAND_IN int OS_Close(int fd, int shutdown_first) {
    hob_port *port = current_port(THROUGH_CLOSE);
    if (fd < 0)
        return 0;
    if (port && port->close)
        return port->close(port, fd);
    if (shutdown_first && shutdown(fd, SHUT_WR) == 0)
        linger(fd);
    return close(fd);
}

/* By ppoll(2), since poll is what this file defines. */
static int plain_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * HOB_MS};
    return ppoll(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL);
}

/* An epoll of the fds, itself readable when one of them is ready; -1 with errno. */
static int gather(const struct pollfd *fds, nfds_t count) {
    int set = epoll_create1(EPOLL_CLOEXEC);
    for (nfds_t i = 0; set >= 0 && i < count; i++) {
        struct epoll_event event = {.events = (uint32_t)(unsigned short)fds[i].events};
        if (fds[i].fd >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fds[i].fd, &event) != 0) {
            int error = errno;
            close(set);
            errno = error;
            set = -1;
        }
    }
    return set;
}

static int parking_poll(hob_task *task, struct pollfd *fds, nfds_t count, int timeout_ms) {
    bool single = count == 1 && fds[0].fd >= 0;
    int fd = single ? fds[0].fd : gather(fds, count);
    if (fd < 0)
        return plain_poll(fds, count, timeout_ms); /* an fd that epoll does not take, or one given twice */
    uint32_t events = single ? (uint32_t)(unsigned short)fds[0].events : EPOLLIN;
    int64_t until = timeout_ms < 0 ? HOB_FOREVER : hob__clock_ns() + timeout_ms * HOB_MS;
    int ready;
    hob_wake wake;
    do {
        wake = hob__task_wait_fd(task, fd, events, until);
        ready = plain_poll(fds, count, 0);
    } while (ready == 0 && wake == HOB_WAKE_READY);
    if (!single)
        close(fd);
    return ready;
}

/* Defined under names of our own, because fortified headers define poll itself, as an inline function. */
STAND_IN int hob__port_poll(struct pollfd *fds, nfds_t count, int timeout_ms) __asm__("poll");
int hob__port_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    hob_port *port = current_port(THROUGH_POLL);
    if (port && port->parks_poll && timeout_ms != 0)
        return parking_poll(hob__task_self(), fds, count, timeout_ms);
    return plain_poll(fds, count, timeout_ms);
}

/* What a library built with _FORTIFY_SOURCE calls in place of poll when it does not know the count beforehand. */
STAND_IN int hob__port_poll_checked(struct pollfd *fds, nfds_t count, int timeout_ms,
                                    size_t size) __asm__("__poll_chk");
int hob__port_poll_checked(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size) {
    if (size / sizeof(*fds) < count)
        abort();
    return hob__port_poll(fds, count, timeout_ms);
}

/* FCGX_Init takes over signals that have no handler yet; whether and when is the worker's to decide, not this check's.
 */
static void init_libfcgi(void) {
    static const int taken[] = {SIGPIPE, SIGUSR1, SIGTERM};
    struct sigaction before[3];
    for (size_t i = 0; i < 3; i++)
        sigaction(taken[i], NULL, &before[i]);
    FCGX_Init();
    for (size_t i = 0; i < 3; i++)
        sigaction(taken[i], &before[i], NULL);
}

/* One whole request: libfcgi reads it from `ours`, answers it, and closes. */
static void call_through_libfcgi(int ours, int peer) {
    static const unsigned char request[] = {
        FCGI_VERSION_1, FCGI_BEGIN_REQUEST, 0, 1, 0, 8, 0, 0, 0, FCGI_RESPONDER, FCGI_KEEP_CONN, 0, 0, 0, 0, 0,
        FCGI_VERSION_1, FCGI_PARAMS,        0, 1, 0, 0, 0, 0, /* none */
        FCGI_VERSION_1, FCGI_STDIN,         0, 1, 0, 0, 0, 0, /* no body */
    };
    FCGX_Request r;
    init_libfcgi();
    if (write(peer, request, sizeof(request)) == (ssize_t)sizeof(request) && FCGX_InitRequest(&r, -1, 0) == 0) {
        r.ipcFd = ours;
        r.keepConnection = 1;
        if (FCGX_Accept_r(&r) == 0)
            FCGX_Finish_r(&r);
        shutdown(peer, SHUT_RDWR); /* else closing would wait for the peer */
        FCGX_Free(&r, 1);
    } else {
        close(ours);
    }
    close(peer);
}

/* A look-up at a server that takes connections and says nothing. */
static void call_through_libmemcached(in_port_t tcp_port) {
    memcached_st *mc = memcached_create(NULL);
    if (!mc)
        return;
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, 1);
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, 1);
    if (memcached_server_add(mc, "127.0.0.1", tcp_port) == MEMCACHED_SUCCESS)
        (void)memcached_exist(mc, "k", 1);
    memcached_free(mc);
}

static int tcp_socket(void) {
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* On a port of loopback, of the system's choice. */
static bool listen_somewhere(int fd, struct sockaddr_in *address) {
    socklen_t size = sizeof(*address);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return fd >= 0 && bind(fd, (struct sockaddr *)address, size) == 0 && listen(fd, 2) == 0 &&
           getsockname(fd, (struct sockaddr *)address, &size) == 0;
}

/* A check that cannot be made refuses nothing: a sandbox without loopback is no fault of the link order. */
static bool libfcgi_reached(const char **what) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        hob__log(HOB_LOG_WARN, "not checked whether libfcgi waits through hob: %s", strerror(errno));
        return true;
    }
    through = 0;
    call_through_libfcgi(pair[0], pair[1]);
    *what = !(through & THROUGH_READ) ? "OS_Read" : !(through & THROUGH_WRITE) ? "OS_Write" : "OS_Close";
    return (through & (THROUGH_READ | THROUGH_WRITE | THROUGH_CLOSE)) == (THROUGH_READ | THROUGH_WRITE | THROUGH_CLOSE);
}

static bool libmemcached_reached(const char **what) {
    struct sockaddr_in address;
    int server = tcp_socket(), client = tcp_socket();
    through = THROUGH_POLL;
    if (listen_somewhere(server, &address) &&
        connect(client, (struct sockaddr *)&address, sizeof(address)) == 0) { /* loopback may be there and down */
        through = 0;
        call_through_libmemcached(ntohs(address.sin_port));
    } else {
        hob__log(HOB_LOG_WARN, "not checked whether libmemcached waits through hob: %s", strerror(errno));
    }
    close(client);
    close(server);
    *what = "poll";
    return through & THROUGH_POLL;
}

bool hob__port_reached(const char **what) {
    return libfcgi_reached(what) && libmemcached_reached(what);
}
