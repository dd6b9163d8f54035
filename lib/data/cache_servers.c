#include "data/cache_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"

#define DEFAULT_PORT 11211
#define RESOLVE_AGAIN (2 * HOB_S)

_Static_assert(sizeof((hob_cache_server){0}.address) == sizeof((struct sockaddr_un){0}.sun_path), "a path fits");

static const char *copy_text(char *to, size_t size, hob_text from, const char *wrong) {
    if (from.size == 0 || from.size >= size || memchr(from.data, '\0', from.size))
        return wrong;
    memcpy(to, from.data, from.size);
    to[from.size] = '\0';
    return NULL;
}

static const char *parse_socket(hob_cache_server *server, hob_text path) {
    const char *wrong = copy_text(server->address, sizeof server->address, path, "a socket's path is too long");
    if (!wrong)
        memcpy(server->host, server->address, sizeof server->address);
    server->generation = 1;
    return wrong;
}

/* "host:port", "host" or "[v6]:port": what stands before the port, and the port if there is one. */
static const char *split_port(hob_text text, hob_text *host, hob_text *port) {
    if (text.size && text.data[0] == '[') {
        hob_text rest = {text.data + 1, text.size - 1};
        (void)hob__text_split(&rest, ']', host);
        if (!rest.data || (rest.size && rest.data[0] != ':'))
            return "an IPv6 address is written [address]:port";
        *port = rest.size ? (hob_text){rest.data + 1, rest.size - 1} : (hob_text){0};
        return NULL;
    }
    *port = text;
    (void)hob__text_split(port, ':', host);
    if (port->data && memchr(port->data, ':', port->size))
        return "an IPv6 address is written [address]:port";
    return NULL;
}

static const char *parse_host(hob_cache_server *server, hob_text text) {
    hob_text host, port;
    int64_t number = DEFAULT_PORT;
    const char *wrong = split_port(text, &host, &port);
    if (!wrong && port.data && (!hob__text_to_int(port, &number) || number < 1 || number > 65535))
        wrong = "a port is 1 to 65535";
    if (!wrong)
        wrong = copy_text(server->host, sizeof server->host, host, "a host's name is 1 to 255 bytes long");
    if (wrong)
        return wrong;
    server->port = (uint16_t)number;
    unsigned char binary[sizeof(struct in6_addr)];
    server->named = inet_pton(AF_INET, server->host, binary) != 1 && inet_pton(AF_INET6, server->host, binary) != 1;
    server->resolve_wanted = server->named;
    if (!server->named) {
        memcpy(server->address, server->host, INET6_ADDRSTRLEN);
        server->generation = 1;
    }
    return NULL;
}

static const char *parse_server(hob_cache_server *server, hob_text text) {
    hob_text weight = text, place;
    int64_t number = 1;
    (void)hob__text_split(&weight, '*', &place);
    if (weight.data &&
        (!hob__text_to_int(hob__text_trim(weight), &number) || number < 1 || number > HOB_CACHE_WEIGHT_MAX))
        return "a weight is 1 to 40";
    server->weight = (uint32_t)number;
    place = hob__text_trim(place);
    for (size_t i = 0; i < place.size; i++)
        if (place.data[i] <= ' ' || place.data[i] > '~')
            return "no blanks, please, and ASCII only";
    return place.size && place.data[0] == '/' ? parse_socket(server, place) : parse_host(server, place);
}

static bool configured_twice(const hob_cache_server *list, size_t count) {
    const hob_cache_server *last = &list[count - 1];
    for (size_t i = 0; i + 1 < count; i++)
        if (strcmp(list[i].host, last->host) == 0 && list[i].port == last->port)
            return true;
    return false;
}

bool hob__cache_servers_parse(const char *text, hob_cache_server **list, size_t *count, char error[256]) {
    hob_text rest = hob_text_of(text), one;
    *count = 0;
    *list = calloc(HOB_CACHE_SERVERS_MAX, sizeof **list);
    if (!*list) {
        snprintf(error, 256, "HOB_CACHE: out of memory");
        return false;
    }
    while (hob__text_split(&rest, ',', &one)) {
        const char *wrong = *count == HOB_CACHE_SERVERS_MAX ? "more than 32 servers" : NULL;
        if (!wrong)
            wrong = parse_server(&(*list)[(*count)++], one);
        if (!wrong && configured_twice(*list, *count))
            wrong = "a server is named twice";
        if (wrong) {
            snprintf(error, 256, "HOB_CACHE: %s: '%.*s'", wrong, (int)(one.size < 100 ? one.size : 100), one.data);
            return false;
        }
    }
    if (*count == 0)
        snprintf(error, 256, "HOB_CACHE: no server is named");
    return *count > 0;
}

memcached_st *hob__cache_ring_new(const hob_cache_server *list, size_t count) {
    memcached_st *ring = memcached_create(NULL);
    bool good = ring && memcached_behavior_set(ring, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1) == MEMCACHED_SUCCESS;
    for (size_t i = 0; good && i < count; i++)
        good = memcached_server_add_with_weight(ring, list[i].host, list[i].port, list[i].weight) == MEMCACHED_SUCCESS;
    if (!good && ring) {
        memcached_free(ring);
        ring = NULL;
    }
    return ring;
}

hob_cache_server *hob__cache_server_of(const hob_cache *cache, hob_text key) {
    return &cache->servers[cache->ring ? memcached_generate_hash(cache->ring, key.data, key.size) : 0];
}

static void wake_services(hob_cache_server *server) {
    for (size_t use = 0; use < HOB_CACHE_LINKS; use++)
        hob__cache_wake(&server->services[use]);
}

/* The probe says whether it answers there. */
static void go_to(hob_cache_server *server, size_t at) {
    server->address_at = at;
    memcpy(server->address, server->addresses.text[at], sizeof server->addresses.text[at]);
    server->generation++;
    server->settled = false;
    hob__log(HOB_LOG_INFO, "cache server %s: trying %s", server->host, server->address);
    wake_services(server);
}

void hob__cache_address_failed(hob_cache *cache, hob_cache_server *server, const hob_cache_link *link) {
    server->resolve_wanted = true;
    hob__cache_wake(&cache->resolver);
    if (link->generation != server->generation || server->addresses.count < 2 ||
        (server->settled && link->breaker.pause < HOB_CACHE_LONGEST_PAUSE))
        return;
    size_t next = (server->address_at + 1) % server->addresses.count;
    server->tried |= next == 0;
    go_to(server, next);
}

/* The address it is at stays as long as the name has it. */
static void take_addresses(hob_cache_server *server, const hob_addresses *found) {
    server->addresses = *found;
    for (size_t i = 0; i < found->count; i++) {
        if (strcmp(found->text[i], server->address) == 0) {
            server->address_at = i;
            return;
        }
    }
    server->tried = false;
    go_to(server, 0);
}

static void resolve(hob_cache *cache, hob_task *task, hob_cache_server *server) {
    hob_addresses found;
    const char *why;
    if (!hob__resolve_all(cache->offload, task, server->host, &found, &why)) {
        if (!server->resolve_failed)
            hob__log(HOB_LOG_WARN, "cache server %s: %s", server->host, why);
        server->resolve_failed = true;
        return;
    }
    server->resolve_wanted = server->resolve_failed = false;
    take_addresses(server, &found);
}

/* Names are looked up at the start, until they are found, and again whenever a server stops answering: it may have
 * moved. */
void hob__cache_resolver(hob_task *task) {
    hob_cache *cache = ((hob_cache_service *)task)->cache;
    while (!hob__cache_stopping(cache)) {
        bool missing = false;
        for (size_t i = 0; i < cache->server_count && !hob__cache_stopping(cache); i++) {
            if (cache->servers[i].resolve_wanted)
                resolve(cache, task, &cache->servers[i]);
            missing |= cache->servers[i].resolve_wanted;
        }
        int64_t again = hob__loop_now(cache->loop) + (int64_t)((double)RESOLVE_AGAIN * hob__jitter(0.2));
        if (!hob__cache_stopping(cache))
            hob__cache_idle(&cache->resolver, missing ? again : HOB_FOREVER);
    }
    hob__cache_service_ended(&cache->resolver);
}
