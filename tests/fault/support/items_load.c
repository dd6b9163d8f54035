/*
 * Reads and writes items over FastCGI with many connections at once, at random, and says what it saw:
 *
 *     items_load SOCKET SECONDS SEED THREADS ITEMS NAME=PER_MILLE...
 *
 * where NAME is listed, past-cache, put, transaction, or die (of the writes: the worker is told to die behind its
 * COMMIT), and the rest are cached reads. A line for each operation:
 *
 *     KIND ITEM BEGIN END STATUS VERSION WORKER
 *
 * KIND: hit or load (a cached read, by who answered it), listed or listed-load (the same of the item in the list of
 * all), past-cache, put, transaction. BEGIN and END are CLOCK_MONOTONIC in ns. STATUS 0: no answer came. VERSION 0:
 * none was told. WORKER: who answered, by its pid; 0: nobody.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_WITHIN_S 20
#define REQUESTS_A_CONNECTION 30 /* at most: then another worker may get the next */
#define OPERATION_BYTES 1024

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS = 4, STDIN = 5, STDOUT = 6 };

typedef enum kind { HIT, LOAD, LISTED, LISTED_LOAD, PAST_CACHE, PUT, TRANSACTION, KINDS } kind;
static const char *const kind_names[KINDS] = {"hit",        "load", "listed",     "listed-load",
                                              "past-cache", "put",  "transaction"};

typedef struct operation {
    kind kind;
    int item, status, worker;
    int64_t begin, end, version;
} operation;

typedef struct client {
    pthread_t thread;
    unsigned seed;
    int socket;    /* -1: none */
    int to_come;   /* requests on it */
    size_t filled; /* of answer */
    char answer[8192];
    operation *done;
    size_t count, room;
} client;

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int64_t end_at;
static long items, per_mille[KINDS], dies_per_mille;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static long draw(client *c, long below) {
    return rand_r(&c->seed) % below;
}

/* ---- FastCGI ---- */

typedef struct buffer {
    size_t size;
    char bytes[OPERATION_BYTES];
} buffer;

static void put_record(buffer *to, int kind, const char *content, size_t size) {
    unsigned char head[8] = {1, (unsigned char)kind, 0, 1, (unsigned char)(size >> 8), (unsigned char)size, 0, 0};
    memcpy(to->bytes + to->size, head, sizeof head);
    if (size)
        memcpy(to->bytes + to->size + sizeof head, content, size);
    to->size += sizeof head + size;
}

static void put_pair(buffer *to, const char *name, const char *value) {
    to->bytes[to->size] = (char)strlen(name);
    to->bytes[to->size + 1] = (char)strlen(value);
    to->size += 2;
    to->size += (size_t)snprintf(to->bytes + to->size, sizeof to->bytes - to->size, "%s%s", name, value);
}

static buffer request_of(const operation *o, bool told_to_die) {
    static const char begin[8] = {0, 1, 1}; /* a responder whose connection is kept */
    static const char *const behind[KINDS] = {
        [LISTED] = "/listed", [PAST_CACHE] = "/past-cache", [TRANSACTION] = "/in-transaction"};
    char target[64];
    buffer params = {0}, request = {0};
    snprintf(target, sizeof target, "/items/%d%s", o->item, behind[o->kind] ? behind[o->kind] : "");
    put_pair(&params, "REQUEST_METHOD", o->kind == PUT || o->kind == TRANSACTION ? "PUT" : "GET");
    put_pair(&params, "REQUEST_URI", target);
    put_pair(&params, "REMOTE_ADDR", "192.0.2.1");
    if (told_to_die)
        put_pair(&params, "HTTP_X_DIE", "1");
    put_record(&request, BEGIN_REQUEST, begin, sizeof begin);
    put_record(&request, PARAMS, params.bytes, params.size);
    put_record(&request, PARAMS, NULL, 0);
    put_record(&request, STDIN, NULL, 0);
    return request;
}

static bool send_all(int to, const buffer *b) {
    for (size_t sent = 0; sent < b->size;) {
        ssize_t n = send(to, b->bytes + sent, b->size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

static bool receive(client *c, void *into, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t n = recv(c->socket, (char *)into + got, size - got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* What comes on STDOUT, up to END_REQUEST, as terminated text. */
static bool receive_answer(client *c) {
    unsigned char head[8];
    char content[sizeof c->answer];
    for (c->filled = 0; receive(c, head, sizeof head);) {
        size_t size = (size_t)head[4] << 8 | head[5];
        if (size + head[6] > sizeof content || !receive(c, content, size + head[6]))
            return false;
        if (head[1] == END_REQUEST)
            return true;
        if (head[1] != STDOUT || c->filled + size >= sizeof c->answer)
            return false;
        memcpy(c->answer + c->filled, content, size);
        c->filled += size;
        c->answer[c->filled] = '\0';
    }
    return false;
}

/* ---- Operations ---- */

static void hang_up(client *c) {
    if (c->socket >= 0)
        close(c->socket);
    c->socket = -1;
}

static bool connected(client *c) {
    struct timeval timeout = {.tv_sec = ANSWER_WITHIN_S};
    if (c->socket >= 0 && c->to_come-- > 0)
        return true;
    hang_up(c);
    c->to_come = (int)draw(c, REQUESTS_A_CONNECTION);
    c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->socket < 0)
        die("socket");
    setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(c->socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    return connect(c->socket, (struct sockaddr *)&address, sizeof address) == 0;
}

/* 0 when there is none. */
static int64_t number_behind(const char *answer, const char *name) {
    const char *at = strstr(answer, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static int64_t version_of(const char *answer, int item) {
    return number_behind(answer, "{\"id\":") == item ? number_behind(answer, "\"version\":") : 0;
}

static int64_t listed_version(const char *answer, int item) {
    const char *at = strstr(answer, "[");
    while (at && --item > 0)
        at = strstr(at + 1, ",");
    return at ? strtoll(at + 1, NULL, 10) : 0;
}

static void read_answer(const char *answer, operation *o) {
    o->status = (int)number_behind(answer, "Status: ");
    o->worker = (int)number_behind(answer, "X-Worker: ");
    if (o->status != 200)
        return;
    o->version = o->kind == LISTED ? listed_version(answer, o->item) : version_of(answer, o->item);
    if (o->version == 0) {
        fprintf(stderr, "not item %d: %s\n", o->item, answer);
        exit(1);
    }
    if ((o->kind == HIT || o->kind == LISTED) && strstr(answer, "X-Loaded:"))
        o->kind++;
}

static kind draw_kind(client *c) {
    long n = draw(c, 1000);
    kind kind = LISTED;
    while (kind < KINDS && n >= per_mille[kind])
        n -= per_mille[kind++];
    return kind < KINDS ? kind : HIT;
}

static operation operate(client *c) {
    operation o = {.kind = draw_kind(c), .item = (int)draw(c, items) + 1};
    bool told_to_die = o.kind >= PUT && draw(c, 1000) < dies_per_mille;
    buffer request = request_of(&o, told_to_die);
    o.begin = now();
    if (connected(c) && send_all(c->socket, &request) && receive_answer(c))
        read_answer(c->answer, &o);
    else
        hang_up(c);
    o.end = now();
    return o;
}

static void *run(void *arg) {
    client *c = arg;
    while (now() < end_at) {
        if (c->count == c->room) {
            c->room = c->room ? 2 * c->room : 4096;
            c->done = realloc(c->done, c->room * sizeof *c->done);
            if (!c->done)
                die("realloc");
        }
        c->done[c->count++] = operate(c);
    }
    hang_up(c);
    return NULL;
}

static void tell(const client *c) {
    for (size_t i = 0; i < c->count; i++) {
        const operation *o = &c->done[i];
        printf("%s %d %" PRId64 " %" PRId64 " %d %" PRId64 " %d\n", kind_names[o->kind], o->item, o->begin, o->end,
               o->status, o->version, o->worker);
    }
}

/* ---- Command line ---- */

static void take_share(const char *text) {
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : 0;
    for (kind kind = LISTED; equals && kind < KINDS; kind++)
        if (strlen(kind_names[kind]) == size && memcmp(text, kind_names[kind], size) == 0) {
            per_mille[kind] = strtol(equals + 1, NULL, 10);
            return;
        }
    if (!equals || size != strlen("die") || memcmp(text, "die", size) != 0) {
        fprintf(stderr, "not a share: %s\n", text);
        exit(2);
    }
    dies_per_mille = strtol(equals + 1, NULL, 10);
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: items_load SOCKET SECONDS SEED THREADS ITEMS NAME=PER_MILLE...\n");
        return 2;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
    end_at = now() + (int64_t)(strtod(argv[2], NULL) * 1e9);
    unsigned seed = (unsigned)strtoul(argv[3], NULL, 10);
    long threads = strtol(argv[4], NULL, 10);
    items = strtol(argv[5], NULL, 10);
    for (int i = 6; i < argc; i++)
        take_share(argv[i]);
    client *clients = threads > 0 && items > 0 ? calloc((size_t)threads, sizeof *clients) : NULL;
    if (!clients)
        die("clients");
    for (long i = 0; i < threads; i++) {
        clients[i].seed = seed + (unsigned)i;
        clients[i].socket = -1;
        if (pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0)
            die("pthread_create");
    }
    for (long i = 0; i < threads; i++) {
        pthread_join(clients[i].thread, NULL);
        tell(&clients[i]);
        free(clients[i].done);
    }
    free(clients);
    return 0;
}
