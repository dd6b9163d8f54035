#include "base/random.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"

/* Up to 256 bytes getrandom(2) gives whole, whatever signal comes. */
static uint64_t pool[32];
static size_t left;

/* A child must not hand out what its parent will. */
static void forget_pool(void) {
    left = 0;
}

static void fill_pool(void) {
    static bool registered;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, forget_pool) == 0;

    ssize_t got;
    do {
        got = getrandom(pool, sizeof pool, 0);
    } while (got < 0 && errno == EINTR);
    if (!registered || got != (ssize_t)sizeof pool) {
        hob__log(HOB_LOG_ERROR, "no random numbers: %s", registered ? strerror(errno) : "pthread_atfork failed");
        abort(); /* predictable ids and leases would be worse than no worker */
    }
    left = sizeof pool / sizeof *pool;
}

uint64_t hob__random(void) {
    if (left == 0)
        fill_pool();
    return pool[--left];
}

double hob__jitter(double spread) {
    double unit = (double)(hob__random() >> 11) / (double)((UINT64_C(1) << 53) - 1);
    return 1 - spread + 2 * spread * unit;
}

/* The upper 60 free bits of a UUIDv7: milliseconds, then 12 bits that begin at random in each millisecond's lower half
 * and count up, into the next millisecond if need be (RFC 9562, 6.2, method 1). */
static uint64_t next_stamp(void) {
    static uint64_t last;
    uint64_t stamp = (uint64_t)(hob__clock_wall_us() / 1000) << 12 | (hob__random() & 0x7ff);
    last = stamp > last ? stamp : last + 1;
    return last;
}

void hob__uuid7(char out[HOB_UUID_SIZE]) {
    uint64_t stamp = next_stamp();
    uint64_t high = (stamp >> 12) << 16 | UINT64_C(7) << 12 | (stamp & 0xfff);
    uint64_t low = UINT64_C(2) << 62 | hob__random() >> 2;
    char *at = out;

    for (int i = 0; i < 32; i++) {
        uint64_t half = i < 16 ? high : low;
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *at++ = '-';
        *at++ = "0123456789abcdef"[half >> (60 - 4 * (i % 16)) & 15];
    }
    *at = '\0';
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool hob__uuid_valid(hob_text text) {
    if (text.size != HOB_UUID_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text.data[i] != '-' : !is_hex(text.data[i]))
            return false;
    }
    return true;
}
