#include "json/check.h"

#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "json/keys.h"
#include "json/scan.h"

typedef struct checker {
    const char *start, *at, *end;
    const char *fault; /* NULL while all is well; it is at `at` */
    uint32_t objects;  /* a bit for each depth: what is open there is an object */
    unsigned depth;
    size_t containers;
    hob_keys keys;
} checker;

_Static_assert(HOB_JSON_DEPTH <= 32, "checker.objects has a bit for each depth");
_Static_assert(sizeof(checker) < 2048, "a checker lives on a fiber's stack");

static bool fail_at(checker *c, const char *at, const char *fault) {
    c->at = at;
    c->fault = fault;
    return false;
}

static bool fail(checker *c, const char *fault) {
    return fail_at(c, c->at, fault);
}

/* The byte at hand; NUL, which no grammar takes, at the end. */
static char peek(const checker *c) {
    return c->at < c->end ? *c->at : '\0';
}

static bool take(checker *c, char wanted) {
    if (peek(c) != wanted)
        return false;
    c->at++;
    return true;
}

static void skip_blanks(checker *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

/* ---- Strings ---- */

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Of "\uXXXX"; -1 when it is none. */
static int32_t code_unit(const char *at, const char *end) {
    int32_t unit = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* The character of the \u escape at `at`, and the escape's size; -1 when it is malformed or an unpaired surrogate. */
static int32_t escaped_character(const char *at, const char *end, size_t *size) {
    int32_t unit = code_unit(at, end);
    *size = 6;
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit;
    int32_t low = code_unit(at + 6, end);
    *size = 12;
    if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return -1;
    return 0x10000 + ((unit & 0x3FF) << 10 | (low & 0x3FF));
}

static bool escape(checker *c) {
    size_t size = 2;
    if (c->end - c->at < 2)
        return fail_at(c, c->end, "unterminated string");
    if (c->at[1] == 'u') {
        if (escaped_character(c->at, c->end, &size) < 0)
            return fail(c, code_unit(c->at, c->end) < 0 ? "invalid escape" : "unpaired surrogate");
    } else if (c->at[1] == '\0' || !strchr("\"\\/bfnrt", c->at[1])) {
        return fail(c, "invalid escape");
    }
    c->at += size;
    return true;
}

/* Past a run of bytes from 0x80 on, in which characters of several bytes are whole. */
static bool not_ascii(checker *c) {
    hob_text run = {c->at, 0};
    while (c->at < c->end && (*c->at & 0x80))
        c->at++;
    run.size = (size_t)(c->at - run.data);
    size_t valid = hob__utf8_valid_prefix(run);
    return valid == run.size || fail_at(c, run.data + valid, "invalid UTF-8");
}

static void skip_plain_ascii(checker *c) {
    while (c->end - c->at >= 8) {
        uint64_t eight = hob__load_eight(c->at);
        if (hob__json_special(eight) || eight & HOB_EVERY_BYTE(0x80))
            break;
        c->at += 8;
    }
    while (c->at < c->end && hob__json_plain((unsigned char)*c->at) && !(*c->at & 0x80))
        c->at++;
}

/* From behind the opening quote to behind the closing one; *raw is what stands between. */
static bool string(checker *c, hob_text *raw, bool *escaped) {
    const char *begin = c->at;
    *escaped = false;
    for (;;) {
        skip_plain_ascii(c);
        if (c->at == c->end)
            return fail(c, "unterminated string");
        if (*c->at == '"')
            break;
        if (*c->at & 0x80) {
            if (!not_ascii(c))
                return false;
        } else if (*c->at != '\\') {
            return fail(c, "control character in a string");
        } else if (!escape(c)) {
            return false;
        } else {
            *escaped = true;
        }
    }
    *raw = (hob_text){begin, (size_t)(c->at - begin)};
    c->at++;
    return true;
}

static char *put_utf8(char *out, int32_t character) {
    if (character < 0x80) {
        *out++ = (char)character;
        return out;
    }
    int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};
    *out++ = (char)(leads[more] | character >> 6 * more);
    while (more-- > 0)
        *out++ = (char)(0x80 | (character >> 6 * more & 0x3F));
    return out;
}

static char simple_escape(char letter) {
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return letter;
    }
}

/* raw has passed string(). No text when memory ran out. */
static hob_text unescape(hob_arena *arena, hob_text raw) {
    char *begin = hob__arena_alloc(arena, raw.size), *out = begin;
    if (!begin)
        return (hob_text){NULL, 0};
    for (const char *at = raw.data, *end = at + raw.size; at < end;) {
        size_t size = *at == '\\' ? 2 : 1;
        if (size == 1)
            *out++ = *at;
        else if (at[1] == 'u')
            out = put_utf8(out, escaped_character(at, end, &size));
        else
            *out++ = simple_escape(at[1]);
        at += size;
    }
    return (hob_text){begin, (size_t)(out - begin)};
}

/* ---- Numbers ---- */

static size_t digits(checker *c) {
    const char *begin = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    return (size_t)(c->at - begin);
}

static bool fits_int64(const char *whole, size_t count, bool negative) {
    return count < 19 ||
           (count == 19 && memcmp(whole, negative ? "9223372036854775808" : "9223372036854775807", 19) <= 0);
}

/* Whether digits * 10^power is at most DBL_MAX, compared by its 17 digits, 1.7976931348623157e308. The first `whole` of
 * the digits stand before the decimal point, if there is one. */
static bool fits_double(hob_text digits, size_t whole, int64_t power) {
    char first[17];
    size_t kept = 0, seen = 0; /* digits kept, and passed */
    int64_t magnitude = INT64_MIN;
    for (size_t i = 0; i < digits.size && kept < sizeof first; i++) {
        if (digits.data[i] == '.')
            continue;
        seen++;
        if (kept == 0 && digits.data[i] == '0')
            continue;
        if (kept == 0)
            magnitude = (int64_t)whole - (int64_t)seen + power;
        first[kept++] = digits.data[i];
    }
    memset(first + kept, '0', sizeof first - kept);
    return magnitude < 308 || (magnitude == 308 && memcmp(first, "17976931348623157", sizeof first) <= 0);
}

/* Saturates, far beyond what the digits of any text could make up for. */
static bool exponent(checker *c, int64_t *out) {
    bool negative = peek(c) == '-';
    if (negative || peek(c) == '+')
        c->at++;
    const char *begin = c->at;
    if (digits(c) == 0)
        return fail(c, "expected a digit");
    for (*out = 0; begin < c->at && *out < INT64_C(1000000000000); begin++)
        *out = *out * 10 + (*begin - '0');
    *out = negative ? -*out : *out;
    return true;
}

static bool number(checker *c) {
    const char *begin = c->at;
    bool negative = take(c, '-'), integer = true;
    const char *first = c->at;
    int64_t power = 0;
    size_t whole = digits(c);
    if (whole == 0)
        return fail(c, "expected a digit");
    if (whole > 1 && *first == '0')
        return fail_at(c, first, "a number must not begin with 0");
    if (take(c, '.')) {
        integer = false;
        if (digits(c) == 0)
            return fail(c, "expected a digit");
    }
    hob_text significant = {first, (size_t)(c->at - first)};
    if (take(c, 'e') || take(c, 'E')) {
        integer = false;
        if (!exponent(c, &power))
            return false;
    }
    if (integer ? fits_int64(first, whole, negative) : fits_double(significant, whole, power))
        return true;
    return fail_at(c, begin, "number out of range");
}

/* ---- Values ---- */

static bool in_object(const checker *c) {
    return c->objects >> (c->depth - 1) & 1;
}

static bool begin_container(checker *c, bool object) {
    if (c->depth == HOB_JSON_DEPTH)
        return fail(c, "nested too deeply");
    if (++c->containers > HOB_JSON_CONTAINERS && c->containers > (size_t)(c->end - c->start) / 16)
        return fail(c, "too many arrays and objects");
    c->at++;
    uint32_t bit = UINT32_C(1) << c->depth;
    c->objects = object ? c->objects | bit : c->objects & ~bit;
    if (object)
        hob__keys_open(&c->keys, c->depth);
    c->depth++;
    return true;
}

static void end_container(checker *c) {
    c->at++;
    if (in_object(c))
        hob__keys_close(&c->keys, c->depth - 1);
    c->depth--;
}

/* A key and its colon. */
static bool key(checker *c) {
    hob_text name;
    bool escaped;
    skip_blanks(c);
    const char *begin = c->at;
    if (!take(c, '"'))
        return fail(c, "expected a key");
    if (!string(c, &name, &escaped))
        return false;
    if (escaped) {
        name = unescape(c->keys.arena, name);
        if (!name.data)
            return fail(c, "out of memory");
        if (memchr(name.data, '\0', name.size))
            return fail_at(c, begin, "U+0000 in a key");
    }
    if (!hob__keys_add(&c->keys, c->depth - 1, name))
        return fail_at(c, begin, hob__arena_failed(c->keys.arena) ? "out of memory" : "duplicate key");
    skip_blanks(c);
    return take(c, ':') || fail(c, "expected ':'");
}

static bool literal(checker *c, hob_text word) {
    if (!hob__text_starts((hob_text){c->at, (size_t)(c->end - c->at)}, word))
        return fail(c, "expected a value");
    c->at += word.size;
    return true;
}

/* What begins with a bracket is only opened, and *opened set when its first value must follow. */
static bool value(checker *c, bool *opened) {
    hob_text text;
    bool escaped;
    *opened = false;
    skip_blanks(c);
    switch (peek(c)) {
    case '{':
        if (!begin_container(c, true))
            return false;
        skip_blanks(c);
        *opened = peek(c) != '}';
        return !*opened || key(c);
    case '[':
        if (!begin_container(c, false))
            return false;
        skip_blanks(c);
        *opened = peek(c) != ']';
        return true;
    case '"':
        c->at++;
        return string(c, &text, &escaped);
    case 't':
        return literal(c, HOB_TEXT("true"));
    case 'f':
        return literal(c, HOB_TEXT("false"));
    case 'n':
        return literal(c, HOB_TEXT("null"));
    default:
        if (peek(c) == '-' || (peek(c) >= '0' && peek(c) <= '9'))
            return number(c);
        return fail(c, "expected a value");
    }
}

/* Behind a value: closes what ends here. *more: another value must follow. */
static bool behind_value(checker *c, bool *more) {
    *more = false;
    for (; c->depth > 0; end_container(c)) {
        bool object = in_object(c);
        skip_blanks(c);
        if (take(c, ',')) {
            *more = true;
            return !object || key(c);
        }
        if (peek(c) != (object ? '}' : ']'))
            return fail(c, object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    skip_blanks(c);
    return c->at == c->end || fail(c, "expected the end");
}

const char *hob__json_fault(hob_arena *arena, hob_text text, size_t *offset) {
    checker c = {.start = text.data,
                 .at = text.data,
                 .end = text.data ? text.data + text.size : NULL,
                 .keys = {.arena = arena, .seed = hob__random(), .factor = hob__random() | 1}};
    bool more = true, opened = false;
    *offset = 0;
    if (text.size > UINT32_MAX / 2)
        return "too large"; /* sizes and counts of keys have 32 bits */
    while (more && value(&c, &opened) && (opened || behind_value(&c, &more))) {
    }
    *offset = (size_t)(c.at - c.start);
    return c.fault;
}
