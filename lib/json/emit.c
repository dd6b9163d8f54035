#include "json/emit.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "json/scan.h"

char *hob__more_room(struct printbuf *out, size_t size) {
    int at = out->bpos;
    if (size > INT_MAX - HOB_SPARE_ROOM - 1 || printbuf_memset(out, -1, 0, (int)size + HOB_SPARE_ROOM + 1) < 0)
        return NULL;
    out->bpos = at;
    return out->buf + at;
}

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

/* Whether the bytes at from are plain; copied in any case. */
static bool copy_sixteen(char *to, const char *from) {
    hob__sixteen bytes = hob__load_sixteen(from);
    memcpy(to, &bytes, sizeof bytes);
    return !hob__json_special_in(bytes);
}

/* Copies up to the first special byte; what is copied behind it will be overwritten. Returns how many are good. A rest
 * below sixteen is copied as the end of sixteen, of which the first have been seen already. */
static size_t copy_plain(char *to, const char *from, size_t size) {
    size_t at = 0;
    while (at + 16 <= size && copy_sixteen(to + at, from + at))
        at += 16;
    if (size >= 16 && at + 16 > size && copy_sixteen(to + size - 16, from + size - 16))
        return size;
    for (; at < size && hob__json_plain((unsigned char)from[at]); at++)
        to[at] = from[at];
    return at;
}

bool hob__put_string(struct printbuf *out, hob_text text) {
    char *to = hob__room(out, text.size + 2);
    if (!to)
        return false;
    *to++ = '"';
    for (;;) {
        size_t plain = copy_plain(to, text.data, text.size);
        to += plain;
        if (plain == text.size) {
            *to++ = '"';
            return hob__wrote(out, to);
        }
        (void)hob__wrote(out, to);
        if (!put_escape(out, (unsigned char)text.data[plain]))
            return false;
        text = (hob_text){text.data + plain + 1, text.size - plain - 1};
        to = hob__room(out, text.size + 1);
        if (!to)
            return false;
    }
}

bool hob__put_int(struct printbuf *out, int64_t value) {
    enum { LONGEST = sizeof "-9223372036854775808" - 1 };
    char *to = hob__room(out, LONGEST);
    char digits[2 * LONGEST] = {0}, *end = digits + LONGEST, *at = end;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    if (!to)
        return false;
    for (; rest >= 10; rest /= 100)
        memcpy(at -= 2, hob__digit_pairs + rest % 100 * 2, 2);
    if (rest > 0 || at == end)
        *--at = (char)('0' + rest);
    if (value < 0)
        *--at = '-';
    memcpy(to, at, LONGEST); /* of a fixed size: no call */
    return hob__wrote(out, to + (end - at));
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
    char *to = hob__room(out, HOB_TIME_SIZE + 2);
    size_t size = to ? hob__time_format(us_since_1970, to + 1) : 0;
    if (size == 0)
        return to && hob__put_null(out);
    to[0] = to[size + 1] = '"';
    return hob__wrote(out, to + size + 2);
}
