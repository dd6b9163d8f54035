#include "naive_store.h"

#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>

#define KEPT_S 1

static memcached_st *handle;

static memcached_st *server(void) {
    if (handle)
        return handle;
    handle = memcached_create(NULL);
    if (!handle || memcached_server_add_unix_socket(handle, getenv("HOB_CACHE")) != MEMCACHED_SUCCESS)
        abort();
    memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
    return handle;
}

/* Whether to ask once more, on a new connection: a server that went and came back costs an error. The handle goes too,
 * since it would not try that server again for a while. */
static bool lost(memcached_return_t rc) {
    if (rc == MEMCACHED_SUCCESS || rc == MEMCACHED_NOTFOUND || rc == MEMCACHED_NOTSTORED || rc == MEMCACHED_DATA_EXISTS)
        return false;
    memcached_free(handle);
    handle = NULL;
    return true;
}

static memcached_return_t get(hob_text key, stored *found) {
    memcached_return_t rc = memcached_mget(server(), &key.data, &key.size, 1);
    memcached_result_st *result;
    *found = (stored){0};
    while (rc == MEMCACHED_SUCCESS && (result = memcached_fetch_result(server(), NULL, &rc))) {
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)memcached_result_length(result), memcached_result_value(result));
        *found = (stored){true, strtoll(text, NULL, 10), memcached_result_cas(result)};
        memcached_result_free(result);
    }
    return rc == MEMCACHED_NOTFOUND || rc == MEMCACHED_END ? MEMCACHED_SUCCESS : rc;
}

stored store_get(hob_text key) {
    stored found;
    if (lost(get(key, &found)))
        (void)lost(get(key, &found));
    return found;
}

void store_set(hob_text key, int64_t number) {
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof text, "%" PRId64, number);
    if (lost(memcached_set(server(), key.data, key.size, text, size, KEPT_S, 0)))
        (void)lost(memcached_set(server(), key.data, key.size, text, size, KEPT_S, 0));
}

bool store_add(hob_text key, int64_t number) {
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof text, "%" PRId64, number);
    memcached_return_t rc = memcached_add(server(), key.data, key.size, text, size, KEPT_S, 0);
    if (lost(rc)) {
        rc = memcached_add(server(), key.data, key.size, text, size, KEPT_S, 0);
        (void)lost(rc);
    }
    return rc == MEMCACHED_SUCCESS;
}

void store_cas(hob_text key, int64_t number, uint64_t cas) {
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof text, "%" PRId64, number);
    if (lost(memcached_cas(server(), key.data, key.size, text, size, KEPT_S, 0, cas)))
        (void)lost(memcached_cas(server(), key.data, key.size, text, size, KEPT_S, 0, cas));
}

void store_delete(hob_text key) {
    if (lost(memcached_delete(server(), key.data, key.size, 0)))
        (void)lost(memcached_delete(server(), key.data, key.size, 0));
}
