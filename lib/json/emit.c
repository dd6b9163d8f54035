#include "json/emit.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "json/scan.h"

bool hob__put_null(struct printbuf *out) {
    return hob__put(out, "null", 4);
}

static bool put_escape(struct printbuf *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c < 32 ? letters[c] : (char)c;
    if (letter)
        return hob__put(out, (char[]){'\\', letter}, 2);
    return hob__put(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

bool hob__put_string(struct printbuf *out, hob_text text) {
    const char *at = text.data, *end = at + text.size;
    if (!hob__put(out, "\"", 1))
        return false;
    for (;;) {
        const char *special = hob__json_plain_end(at, end);
        if (special > at && !hob__put(out, at, (size_t)(special - at)))
            return false;
        if (special == end)
            return hob__put(out, "\"", 1);
        if (!put_escape(out, (unsigned char)*special))
            return false;
        at = special + 1;
    }
}

bool hob__put_int(struct printbuf *out, int64_t value) {
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
        "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
        "9899";
    char digits[20], *end = digits + sizeof digits, *at = end;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    for (; rest >= 10; rest /= 100)
        memcpy(at -= 2, pairs + rest % 100 * 2, 2);
    if (rest > 0 || at == end)
        *--at = (char)('0' + rest);
    if (value < 0)
        *--at = '-';
    return hob__put(out, at, (size_t)(end - at));
}

bool hob__put_double(struct printbuf *out, double value) {
    char text[32];
    if (!isfinite(value))
        return hob__put_null(out);
    int size = snprintf(text, sizeof text, "%.17g", value);
    char *comma = strchr(text, ','); /* a locale's */
    if (comma)
        *comma = '.';
    if (!strpbrk(text, ".e"))
        size += snprintf(text + size, sizeof text - (size_t)size, ".0");
    return hob__put(out, text, (size_t)size);
}

bool hob__put_time(struct printbuf *out, int64_t us_since_1970) {
    char text[HOB_TIME_SIZE + 2];
    size_t size = hob__time_format(us_since_1970, text + 1);
    text[0] = text[size + 1] = '"';
    return size > 0 ? hob__put(out, text, size + 2) : hob__put_null(out);
}
