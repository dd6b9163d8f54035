/*
 * The client's address, as told by proxies we trust. Only X-Forwarded-For is read, not Forwarded (RFC 7239): a proxy
 * that writes one of them passes the other on as the client sent it, so believing both would be believing the client.
 */
#include "middleware/real_ip.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/config.h"
#include "base/text.h"
#include "http/ctx.h"

#define LIST_SIZE 4096 /* 64 of the longest entries fit */

typedef struct address {
    int family; /* AF_INET, AF_INET6, AF_UNIX for peers without an address */
    uint8_t bytes[16];
} address;

typedef struct block {
    address address;
    int bits; /* how many of it count */
} block;

typedef struct trust {
    char list[LIST_SIZE]; /* what was parsed */
    block blocks[HOB_TRUSTED_PROXIES_MAX];
    size_t count;
} trust;

/* ---- Addresses ---- */

static int size_in_bits(const address *a) {
    return a->family == AF_INET ? 32 : a->family == AF_INET6 ? 128 : 0;
}

/* ::ffff:192.0.2.1 is 192.0.2.1. */
static void fold_mapped(address *a) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (a->family == AF_INET6 && memcmp(a->bytes, mapped, sizeof mapped) == 0) {
        memmove(a->bytes, a->bytes + sizeof mapped, 4);
        a->family = AF_INET;
    }
}

static bool parse_address(hob_text text, address *out) {
    char terminated[INET6_ADDRSTRLEN];
    if (text.size >= sizeof terminated || memchr(text.data, '\0', text.size))
        return false;
    memcpy(terminated, text.data, text.size);
    terminated[text.size] = '\0';
    *out = (address){.family = memchr(text.data, ':', text.size) ? AF_INET6 : AF_INET};
    return inet_pton(out->family, terminated, out->bytes) == 1;
}

/* REMOTE_ADDR; nginx says "unix:" where there is no address. */
static bool parse_peer(hob_text text, address *out) {
    if (text.size == 0 || hob_text_equal(text, HOB_TEXT("unix:"))) {
        *out = (address){.family = AF_UNIX};
        return true;
    }
    if (!parse_address(text, out))
        return false;
    fold_mapped(out);
    return true;
}

/* An entry of X-Forwarded-For; some proxies write a port behind it, and IPv6 in brackets. */
static bool parse_forwarded(hob_text text, address *out) {
    const char *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    if (text.size > 0 && text.data[0] == '[') {
        const char *end = memchr(text.data, ']', text.size), *behind = end ? end + 1 : NULL;
        if (end == NULL || (behind < text.data + text.size && *behind != ':'))
            return false;
        text = (hob_text){text.data + 1, (size_t)(end - text.data) - 1};
    } else if (colon && memchr(text.data, '.', (size_t)(colon - text.data))) {
        text.size = (size_t)(colon - text.data);
    }
    return text.size > 0 && parse_peer(text, out);
}

/* ---- The list ---- */

static bool parse_block(hob_text text, block *out) {
    hob_text bits = text, host;
    int64_t count;
    (void)hob__text_split(&bits, '/', &host);
    if (hob_text_equal(text, HOB_TEXT("unix:"))) {
        *out = (block){.address = {.family = AF_UNIX}};
        return true;
    }
    if (host.size == 0 || !parse_address(host, &out->address))
        return false;
    int all = size_in_bits(&out->address);
    out->bits = all;
    if (bits.data) {
        if (bits.size == 0 || bits.data[0] == '-' || !hob__text_to_int(bits, &count) || count > all)
            return false;
        out->bits = (int)count;
    }
    fold_mapped(&out->address);
    out->bits -= all - size_in_bits(&out->address);
    return out->bits >= 0;
}

/* NULL: all is well; else where the first bad entry begins, and nobody is trusted. */
static const char *parse_list(const char *list, trust *out) {
    hob_text rest = hob_text_of(list), entry;
    out->count = 0;
    if (rest.size >= sizeof out->list)
        return list;
    memcpy(out->list, list, rest.size + 1);
    if (rest.size == 0)
        return NULL;
    while (hob__text_split(&rest, ',', &entry)) {
        entry = hob__text_trim(entry);
        if (out->count == HOB_TRUSTED_PROXIES_MAX || !parse_block(entry, &out->blocks[out->count])) {
            out->count = 0;
            return entry.data;
        }
        out->count++;
    }
    return NULL;
}

bool hob__trusted_proxies_good(const char *list, const char **bad) {
    trust parsed;
    *bad = parse_list(list ? list : "", &parsed);
    return *bad == NULL;
}

static bool is_in(const address *a, const block *block) {
    size_t whole = (size_t)block->bits / 8;
    int rest = block->bits % 8;
    if (a->family != block->address.family || memcmp(a->bytes, block->address.bytes, whole) != 0)
        return false;
    return rest == 0 || (a->bytes[whole] ^ block->address.bytes[whole]) >> (8 - rest) == 0;
}

static bool is_trusted(const trust *trust, const address *a) {
    for (size_t i = 0; i < trust->count; i++)
        if (is_in(a, &trust->blocks[i]))
            return true;
    return false;
}

/* A worker has one list for life: it is parsed once. */
static const trust *trust_by(const char *list) {
    static trust parsed; /* zeroed it is that of the empty list */
    if (list == NULL)
        list = "";
    if (strcmp(list, parsed.list) != 0)
        (void)parse_list(list, &parsed);
    return &parsed;
}

/* ---- The header ---- */

static bool take_last(hob_text *rest, hob_text *entry) {
    if (rest->data == NULL)
        return false;
    const char *comma = memrchr(rest->data, ',', rest->size);
    const char *begin = comma ? comma + 1 : rest->data;
    *entry = hob__text_trim((hob_text){begin, (size_t)(rest->data + rest->size - begin)});
    *rest = comma ? (hob_text){rest->data, (size_t)(comma - rest->data)} : (hob_text){0};
    return true;
}

/* From the last hop to the first, for as long as it is one we trust: what stands left of an untrusted one is its own
 * word. A proxy may add a header of its own instead of appending to the one there is, so all of that name count. false:
 * there is none, or a hop in question is no address. */
static bool find_client(const hob_request *request, const trust *trust, address *client) {
    bool found = false;
    for (size_t i = request->header_count; i-- > 0;) {
        hob_text rest = request->headers[i].value, entry;
        if (!hob__text_equal_nocase(request->headers[i].name, HOB_TEXT("X-Forwarded-For")))
            continue;
        while (take_last(&rest, &entry)) {
            if (!parse_forwarded(entry, client))
                return false;
            found = true;
            if (!is_trusted(trust, client))
                return true;
        }
    }
    return found;
}

static hob_text spelled(hob_arena *arena, const address *a) {
    if (a->family == AF_UNIX)
        return HOB_TEXT("unix:");
    char *text = hob__arena_alloc(arena, INET6_ADDRSTRLEN);
    return hob_text_of(text ? inet_ntop(a->family, a->bytes, text, INET6_ADDRSTRLEN) : NULL);
}

int hob_real_ip(hob_ctx *c, const hob_chain *chain) {
    const trust *trust = trust_by(c->config->trusted_proxies);
    address peer, client;
    if (trust->count > 0 && parse_peer(c->request->peer, &peer) && is_trusted(trust, &peer) &&
        find_client(c->request, trust, &client))
        c->request->client = spelled(c->arena, &client);
    return hob_next(c, chain);
}
