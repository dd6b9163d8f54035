#include "base/text.h"

#include <string.h>

const char hob__digit_pairs[200] = /* without a NUL */
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

hob_text hob_text_of(const char *terminated) {
    return (hob_text){terminated, terminated ? strlen(terminated) : 0};
}

static unsigned char lower(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? u | 0x20 : u;
}

bool hob__text_equal_nocase(hob_text a, hob_text b) {
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

uint32_t hob__text_hash(hob_text text) {
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * 16777619U;
    return hash;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

hob_text hob__text_trim(hob_text text) {
    while (text.size > 0 && is_space(text.data[text.size - 1]))
        text.size--;
    while (text.size > 0 && is_space(text.data[0])) {
        text.data++;
        text.size--;
    }
    return text;
}

bool hob__text_split(hob_text *rest, char separator, hob_text *part) {
    if (rest->data == NULL)
        return false;
    const char *at = memchr(rest->data, separator, rest->size);
    *part = *rest;
    if (at == NULL) {
        *rest = (hob_text){NULL, 0};
        return true;
    }
    part->size = (size_t)(at - rest->data);
    rest->data = at + 1;
    rest->size -= part->size + 1;
    return true;
}

bool hob__text_to_int(hob_text text, int64_t *out) {
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;

    if (i == text.size)
        return false;
    for (; i < text.size; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9)
            return false;
        /* Summed with its sign, since INT64_MIN has no positive counterpart. */
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value))
            return false;
    }
    *out = value;
    return true;
}

static bool continues(const unsigned char *p, size_t count) {
    for (size_t i = 0; i < count; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* RFC 3629, section 4 */
size_t hob__utf8_first(hob_text text) {
    const unsigned char *p = (const unsigned char *)text.data;
    if (text.size == 0)
        return 0;

    unsigned char first = p[0];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (size == 1)
        return 1;
    if (first < 0xc2 || first > 0xf4 || text.size < size || !continues(p + 1, size - 1))
        return 0;
    if ((first == 0xe0 && p[1] < 0xa0) || (first == 0xf0 && p[1] < 0x90))
        return 0; /* overlong */
    if ((first == 0xed && p[1] > 0x9f) || (first == 0xf4 && p[1] > 0x8f))
        return 0; /* surrogate, or above U+10FFFF */
    return size;
}

static bool ascii(const char *eight) {
    uint64_t word;
    memcpy(&word, eight, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t hob__utf8_valid_prefix(hob_text text) {
    size_t at = 0;
    while (at < text.size) {
        hob_text rest = {text.data + at, text.size - at};
        size_t size = rest.size >= 8 && ascii(rest.data) ? 8 : hob__utf8_first(rest);
        if (size == 0)
            break;
        at += size;
    }
    return at;
}

size_t hob__utf8_length(hob_text valid) {
    size_t length = 0;
    for (size_t i = 0; i < valid.size; i++)
        length += ((unsigned char)valid.data[i] & 0xc0) != 0x80;
    return length;
}

bool hob__text_has_control(hob_text text) {
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c == 0x7f)
            return true;
        if (c == 0xc2 && i + 1 < text.size && (unsigned char)text.data[i + 1] < 0xa0)
            return true;
    }
    return false;
}
