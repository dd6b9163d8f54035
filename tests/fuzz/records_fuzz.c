/*
 * libFuzzer: the record filter under any bytes in any pieces. The first byte says how small the pieces are. What passes
 * must be the same as from one piece, and safe for libfcgi: whole records, all of one request but for the beginnings of
 * others.
 */
#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>

#include "front/records.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

typedef struct result {
    hob_records records;
    uint8_t *bytes;
    size_t size;
} result;

/* In pieces of up to `most` bytes, or, at 0, in one. */
static result filter(const uint8_t *data, size_t size, uint8_t most) {
    result result = {.bytes = malloc(size + HOB_RECORD_HEADER)};
    CHECK(result.bytes != NULL);
    hob__records_init(&result.records, 1024);
    while (size > 0) {
        size_t n = most == 0 ? size : 1 + (size_t)rand() % most;
        n = n < size ? n : size;
        hob_records_out out = {.bytes = malloc(n + HOB_RECORD_HEADER)};
        CHECK(out.bytes != NULL);
        bool good = hob__records_filter(&result.records, data, n, &out);
        CHECK(out.size <= n + HOB_RECORD_HEADER && out.reply_size <= sizeof(out.reply));
        CHECK(good == (result.records.fault == NULL));
        if (good) {
            memcpy(result.bytes + result.size, out.bytes, out.size);
            result.size += out.size;
        }
        free(out.bytes);
        if (!good)
            break;
        data += n;
        size -= n;
    }
    return result;
}

/* Looks at what passed as libfcgi would. */
static void check_passed(const uint8_t *bytes, size_t size) {
    unsigned id = 0;
    size_t params = 0;
    while (size >= HOB_RECORD_HEADER) {
        unsigned of = (unsigned)bytes[2] << 8 | bytes[3];
        size_t content = (size_t)bytes[4] << 8 | bytes[5], whole = HOB_RECORD_HEADER + content + bytes[6];
        CHECK(bytes[0] == FCGI_VERSION_1 && of != 0);
        if (bytes[1] == FCGI_BEGIN_REQUEST) {
            CHECK(content == 8 && of != id);
            id = id == 0 ? of : id;
        } else {
            CHECK(of == id);
            params += bytes[1] == FCGI_PARAMS ? content : 0;
        }
        if (size < whole)
            break;
        bytes += whole;
        size -= whole;
    }
    CHECK(params <= HOB_PARAMS_SIZE_MAX + 65536);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    srand(data[0]);
    result whole = filter(data + 1, size - 1, 0);
    result split = filter(data + 1, size - 1, data[0]);
    check_passed(split.bytes, split.size);
    if (whole.records.fault == NULL && split.records.fault == NULL) {
        CHECK(whole.records.state == split.records.state && whole.records.aborted == split.records.aborted);
        CHECK(whole.records.trailing == split.records.trailing);
        CHECK(whole.size == split.size && memcmp(whole.bytes, split.bytes, whole.size) == 0);
    }
    free(whole.bytes);
    free(split.bytes);
    return 0;
}
