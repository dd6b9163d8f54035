/* Percent-encoding, in paths and queries. */
#include "http/request.h"

#include <string.h>

#include "base/text.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at *at, decoded, which it advances; -1: bad encoding. */
static int next_byte(hob_text in, size_t *at, bool plus) {
    char c = in.data[(*at)++];
    if (c == '+' && plus)
        return ' ';
    if (c != '%')
        return (unsigned char)c;
    if (in.size - *at < 2)
        return -1;
    int high = hex_value(in.data[*at]), low = hex_value(in.data[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool is_good(hob_text decoded) {
    return decoded.size == 0 ||
           (memchr(decoded.data, '\0', decoded.size) == NULL && hob__utf8_valid_prefix(decoded) == decoded.size);
}

bool hob__percent_decode(hob_arena *arena, hob_text in, bool plus, hob_text *out) {
    *out = in;
    if (in.size == 0 || (!memchr(in.data, '%', in.size) && !(plus && memchr(in.data, '+', in.size))))
        return is_good(in);
    char *bytes = hob__arena_alloc(arena, in.size);
    size_t size = 0;
    if (bytes == NULL)
        return false;
    for (size_t at = 0; at < in.size;) {
        int byte = next_byte(in, &at, plus);
        if (byte < 0)
            return false;
        bytes[size++] = (char)byte;
    }
    *out = (hob_text){bytes, size};
    return is_good(*out);
}

/* raw decodes well, to what route_path holds. */
static void mark_encoded_slashes(hob_text raw, char *route_path) {
    for (size_t at = 0; at < raw.size; route_path++) {
        bool encoded = raw.data[at] == '%';
        if (next_byte(raw, &at, false) == '/' && encoded)
            *route_path = HOB_ENCODED_SLASH;
    }
}

bool hob__path_decode(hob_arena *arena, hob_text raw, hob_text *path, hob_text *route_path) {
    if (!hob__percent_decode(arena, raw, false, path))
        return false;
    *route_path = *path;
    if (!memmem(raw.data, raw.size, "%2F", 3) && !memmem(raw.data, raw.size, "%2f", 3))
        return true;
    char *copy = hob__arena_alloc(arena, path->size);
    if (copy == NULL)
        return false;
    memcpy(copy, path->data, path->size);
    mark_encoded_slashes(raw, copy);
    *route_path = (hob_text){copy, path->size};
    return true;
}

static bool decodes_to(hob_text encoded, hob_text text) {
    size_t at = 0, i = 0;
    while (at < encoded.size && i < text.size)
        if (next_byte(encoded, &at, true) != (unsigned char)text.data[i++])
            return false;
    return at == encoded.size && i == text.size;
}

int hob__query_find(hob_arena *arena, hob_text query, hob_text name, hob_text *value) {
    hob_text parameter;
    while (hob__text_split(&query, '&', &parameter)) {
        hob_text behind = parameter, key;
        if (!hob__text_split(&behind, '=', &key) || !decodes_to(key, name))
            continue;
        hob_text raw = behind.data ? behind : (hob_text){key.data + key.size, 0};
        return hob__percent_decode(arena, raw, true, value) ? 1 : -1;
    }
    return 0;
}
