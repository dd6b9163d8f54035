/*
 * Constant load over HTTP: GETs of users that are there, and POSTs of new ones, each with an e-mail of its own.
 *
 *     roll_load PORT CONNECTIONS RATE POSTS_PER_MILLE LEAST PREFIX FIRST_ID IDS
 *
 * RATE: requests a second, whether or not earlier ones have been answered; one that finds no connection free waits, and
 * that counts; 0: each connection asks as soon as it has its answer. It ends upon SIGTERM, not before LEAST requests.
 * Then a line for each:
 *
 *     METHOD KEY BEGIN END STATUS
 *
 * KEY: of a GET the id, of a POST the number in its e-mail PREFIX<number>@roll.example. BEGIN and END are
 * CLOCK_MONOTONIC in ns. STATUS 0: no answer came, or it was another request's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define ANSWER_WITHIN (20 * SECOND)
#define EVENTS 256

typedef struct operation {
    int64_t key, begin, end;
    int status;
    bool is_post;
} operation;

typedef struct client {
    int socket;        /* -1: none */
    operation *asking; /* NULL: idle, and so in the list */
    struct client *next_idle;
    size_t filled;
    char answer[4096];
} client;

static struct sockaddr_in address = {.sin_family = AF_INET};
static const char *prefix;
static long connections, rate, posts_per_mille, first_id, ids;
static size_t least;
static client *clients, *idle;
static operation *operations;
static size_t begun, room, ended;
static int64_t started, posts;
static int epoll;
static volatile sig_atomic_t told_to_end;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void on_sigterm(int signal) {
    (void)signal;
    told_to_end = 1;
}

/* ---- Connections ---- */

static void hang_up(client *c) {
    if (c->socket >= 0)
        close(c->socket);
    c->socket = -1;
}

static void connect_client(client *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (fcntl(c->socket, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->socket, &event) != 0)
        die("epoll_ctl");
}

static void make_idle(client *c) {
    c->asking = NULL;
    c->next_idle = idle;
    idle = c;
}

static void end(client *c, int status, bool keep) {
    c->asking->end = now();
    c->asking->status = status;
    ended++;
    if (!keep)
        hang_up(c);
    make_idle(c);
}

/* ---- A request ---- */

static size_t write_request(const operation *o, char *into, size_t size) {
    char body[256];
    int length;
    if (o->is_post) {
        int body_size =
            snprintf(body, sizeof body, "{\"name\":\"Ada\",\"email\":\"%s%" PRId64 "@roll.example\"}", prefix, o->key);
        length = snprintf(into, size,
                          "POST /api/v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s",
                          body_size, body);
    } else {
        length = snprintf(into, size, "GET /api/v1/users/%" PRId64 " HTTP/1.1\r\nHost: localhost\r\n\r\n", o->key);
    }
    return (size_t)length;
}

static void ask(client *c, operation *o) {
    char request[1024];
    size_t size = write_request(o, request, sizeof request);
    c->asking = o;
    c->filled = 0;
    if (c->socket < 0)
        connect_client(c);
    if (send(c->socket, request, size, MSG_NOSIGNAL) != (ssize_t)size)
        end(c, 0, false);
}

/* ---- Its answer ---- */

static bool answers(const char *body, const operation *o) {
    char expected[128];
    if (o->is_post)
        snprintf(expected, sizeof expected, "\"email\":\"%s%" PRId64 "@", prefix, o->key);
    else
        snprintf(expected, sizeof expected, "{\"id\":%" PRId64 ",", o->key);
    return strstr(body, expected) != NULL;
}

static const char *header(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : "";
}

/* Whether it is complete. */
static bool read_answer(client *c) {
    char *body = strstr(c->answer, "\r\n\r\n");
    if (!body)
        return false;
    *body = '\0'; /* for the time in which the head is looked at */
    size_t length = strtoul(header(c->answer, "\r\nContent-Length: "), NULL, 10);
    bool keep = strncasecmp(header(c->answer, "\r\nConnection: "), "close", 5) != 0;
    int status = (int)strtol(header(c->answer, "HTTP/1.1 "), NULL, 10);
    *body = '\r';
    if (strlen(body + 4) < length)
        return false;
    end(c, status < 300 && !answers(body + 4, c->asking) ? 0 : status, keep);
    return true;
}

static void on_event(client *c) {
    ssize_t n = recv(c->socket, c->answer + c->filled, sizeof c->answer - 1 - c->filled, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!c->asking) { /* nginx has closed an idle one */
        hang_up(c);
    } else if (n <= 0) {
        end(c, 0, false);
    } else {
        c->filled += (size_t)n;
        c->answer[c->filled] = '\0';
        if (!read_answer(c) && c->filled == sizeof c->answer - 1)
            end(c, 0, false);
    }
}

/* ---- All of them ---- */

static operation *begin(int64_t at) {
    if (begun == room)
        die("more requests than there is room for");
    operation *o = &operations[begun++];
    o->begin = at;
    o->is_post = random() % 1000 < posts_per_mille;
    o->key = o->is_post ? posts++ : first_id + random() % ids;
    return o;
}

static int64_t next_due(void) {
    return rate > 0 ? started + (int64_t)((double)begun * (double)SECOND / (double)rate) : 0;
}

static bool wanted(void) {
    return !told_to_end || begun < least;
}

static void ask_what_is_due(void) {
    while (idle && wanted() && next_due() <= now()) {
        client *c = idle;
        idle = c->next_idle;
        int64_t due = next_due();
        ask(c, begin(due > 0 ? due : now()));
    }
}

static void give_up_what_is_late(void) {
    static int64_t last;
    int64_t at = now();
    if (at - last < SECOND)
        return;
    last = at;
    for (long i = 0; i < connections; i++)
        if (clients[i].asking && at - clients[i].asking->begin > ANSWER_WITHIN)
            end(&clients[i], 0, false);
}

static void await(void) {
    struct epoll_event events[EVENTS];
    int64_t ns = SECOND;
    if (idle && wanted())
        ns = next_due() - now();
    struct timespec timeout = {.tv_sec = ns / SECOND, .tv_nsec = ns > 0 ? ns % SECOND : 0};
    int count = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < count; i++)
        on_event(events[i].data.ptr);
}

static void run(void) {
    started = now();
    while (wanted() || ended < begun) {
        ask_what_is_due();
        await();
        give_up_what_is_late();
    }
}

static void tell(void) {
    for (size_t i = 0; i < begun; i++) {
        const operation *o = &operations[i];
        printf("%s %" PRId64 " %" PRId64 " %" PRId64 " %d\n", o->is_post ? "POST" : "GET", o->key, o->begin, o->end,
               o->status);
    }
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: roll_load PORT CONNECTIONS RATE POSTS_PER_MILLE LEAST PREFIX FIRST_ID IDS\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connections = strtol(argv[2], NULL, 10);
    rate = strtol(argv[3], NULL, 10);
    posts_per_mille = strtol(argv[4], NULL, 10);
    least = strtoul(argv[5], NULL, 10);
    prefix = argv[6];
    first_id = strtol(argv[7], NULL, 10);
    ids = strtol(argv[8], NULL, 10);
    room = 4 * least + 4000000; /* untouched, it costs nothing */
    clients = connections > 0 && ids > 0 ? calloc((size_t)connections, sizeof *clients) : NULL;
    operations = calloc(room, sizeof *operations);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !operations || epoll < 0)
        die("roll_load");
    signal(SIGTERM, on_sigterm);
    for (long i = 0; i < connections; i++) {
        clients[i].socket = -1;
        make_idle(&clients[i]);
    }
    run();
    tell();
    free(operations);
    free(clients);
    return 0;
}
