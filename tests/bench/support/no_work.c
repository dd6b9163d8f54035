/*
 * What no FastCGI service behind nginx can exceed: one read and one write a request, and nothing between them. To
 * whatever is asked it answers as /ping does. It takes each read for one whole request, which holds for nginx and
 * requests without a body.
 *
 * no_work SOCKET
 */
#include <errno.h>
#include <fastcgi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EVENTS 256
#define TEXT                                                                                                           \
    "Content-Type: application/json\r\nContent-Length: 18\r\n"                                                         \
    "X-Request-ID: 00000000-0000-0000-0000-000000000000\r\n\r\n{\"message\":\"pong\"}"

static struct {
    FCGI_Header head;
    char text[sizeof TEXT - 1];
    FCGI_Header end_of_text;
    FCGI_EndRequestRecord end;
} answer = {
    .head = {FCGI_VERSION_1, FCGI_STDOUT, 0, 1, (sizeof TEXT - 1) >> 8, (sizeof TEXT - 1) & 255, 0, 0},
    .text = TEXT,
    .end_of_text = {FCGI_VERSION_1, FCGI_STDOUT, 0, 1, 0, 0, 0, 0},
    .end = {{FCGI_VERSION_1, FCGI_END_REQUEST, 0, 1, 0, sizeof(FCGI_EndRequestBody), 0, 0}, {0}},
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0)
        fail(path);
    return fd;
}

static void watch(int set, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static void take_connection(int set, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        watch(set, fd); /* else nginx has gone */
}

static void serve(int fd) {
    char request[8192];
    ssize_t size = read(fd, request, sizeof request);
    if (size < (ssize_t)sizeof(FCGI_Header)) {
        close(fd); /* nginx has gone */
        return;
    }
    answer.head.requestIdB0 = answer.end_of_text.requestIdB0 = answer.end.header.requestIdB0 =
        ((const FCGI_Header *)request)->requestIdB0;
    if (write(fd, &answer, sizeof answer) != (ssize_t)sizeof answer)
        close(fd);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    if (argc != 2)
        return 2;
    signal(SIGPIPE, SIG_IGN); /* when a measurement ends, nginx drops what is under way */
    int listener = listen_on(argv[1]), set = epoll_create1(0);
    watch(set, listener);
    for (;;) {
        int count = epoll_wait(set, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                take_connection(set, listener);
            else
                serve(events[i].data.fd);
    }
}
