#include "http/response.h"

#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define RETRY_AFTER_MEMORY "1" /* seconds */

/* RFC 9110, 15, and RFC 6585; 499 is nginx's: the client has gone. */
#define STATUSES(X)                                                                                                    \
    X(100, "Continue")                                                                                                 \
    X(101, "Switching Protocols")                                                                                      \
    X(200, "OK")                                                                                                       \
    X(201, "Created")                                                                                                  \
    X(202, "Accepted")                                                                                                 \
    X(203, "Non-Authoritative Information")                                                                            \
    X(204, "No Content")                                                                                               \
    X(205, "Reset Content")                                                                                            \
    X(206, "Partial Content")                                                                                          \
    X(300, "Multiple Choices")                                                                                         \
    X(301, "Moved Permanently")                                                                                        \
    X(302, "Found")                                                                                                    \
    X(303, "See Other")                                                                                                \
    X(304, "Not Modified")                                                                                             \
    X(307, "Temporary Redirect")                                                                                       \
    X(308, "Permanent Redirect")                                                                                       \
    X(400, "Bad Request")                                                                                              \
    X(401, "Unauthorized")                                                                                             \
    X(402, "Payment Required")                                                                                         \
    X(403, "Forbidden")                                                                                                \
    X(404, "Not Found")                                                                                                \
    X(405, "Method Not Allowed")                                                                                       \
    X(406, "Not Acceptable")                                                                                           \
    X(407, "Proxy Authentication Required")                                                                            \
    X(408, "Request Timeout")                                                                                          \
    X(409, "Conflict")                                                                                                 \
    X(410, "Gone")                                                                                                     \
    X(411, "Length Required")                                                                                          \
    X(412, "Precondition Failed")                                                                                      \
    X(413, "Content Too Large")                                                                                        \
    X(414, "URI Too Long")                                                                                             \
    X(415, "Unsupported Media Type")                                                                                   \
    X(416, "Range Not Satisfiable")                                                                                    \
    X(417, "Expectation Failed")                                                                                       \
    X(421, "Misdirected Request")                                                                                      \
    X(422, "Unprocessable Content")                                                                                    \
    X(423, "Locked")                                                                                                   \
    X(424, "Failed Dependency")                                                                                        \
    X(425, "Too Early")                                                                                                \
    X(426, "Upgrade Required")                                                                                         \
    X(428, "Precondition Required")                                                                                    \
    X(429, "Too Many Requests")                                                                                        \
    X(431, "Request Header Fields Too Large")                                                                          \
    X(451, "Unavailable For Legal Reasons")                                                                            \
    X(499, "Client Closed Request")                                                                                    \
    X(500, "Internal Server Error")                                                                                    \
    X(501, "Not Implemented")                                                                                          \
    X(502, "Bad Gateway")                                                                                              \
    X(503, "Service Unavailable")                                                                                      \
    X(504, "Gateway Timeout")                                                                                          \
    X(505, "HTTP Version Not Supported")                                                                               \
    X(507, "Insufficient Storage")                                                                                     \
    X(511, "Network Authentication Required")

const char *hob__status_phrase(int status) {
    switch (status) {
#define PHRASE(code, phrase)                                                                                           \
    case code:                                                                                                         \
        return phrase;
        STATUSES(PHRASE)
    }
    return "";
}

static bool has_no_content(int status) {
    return status < 200 || status == 204 || status == 304;
}

bool hob__response_has_body(const hob_response *response, hob_http_method method) {
    return method != HOB_HEAD && !has_no_content(response->status);
}

/* ---- Headers ---- */

static bool is_control(char c) {
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static size_t leading_text(hob_text value) {
    size_t size = 0;
    while (size < value.size && !is_control(value.data[size]))
        size++;
    return size;
}

static hob_text cut_controls(char *to, hob_text value) {
    size_t size = 0;
    for (size_t i = 0; i < value.size; i++)
        if (!is_control(value.data[i]))
            to[size++] = value.data[i];
    to[size] = '\0';
    return (hob_text){to, size};
}

hob_text hob__wire_text(hob_arena *arena, hob_text value) {
    if (leading_text(value) == value.size)
        return value;
    char *copy = hob__arena_alloc(arena, value.size + 1);
    return copy ? cut_controls(copy, value) : (hob_text){0};
}

static bool is_token(hob_text name) {
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return name.size > 0;
}

static bool may_be_set(hob_text name) {
    static const hob_text reserved[] = {HOB_TEXT("Status"), HOB_TEXT("Content-Length"), HOB_TEXT("Transfer-Encoding")};
    bool good = is_token(name);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        good = good && !hob__text_equal_nocase(name, reserved[i]);
    if (!good)
        hob__log(HOB_LOG_ERROR, "the application set a header that it may not: '" HOB_FMT "'", HOB_ARG(name));
    return good;
}

static hob_pair *find_header(const hob_response *response, hob_text name) {
    for (size_t i = 0; i < response->header_count; i++)
        if (hob__text_equal_nocase(response->headers[i].name, name))
            return &response->headers[i];
    return NULL;
}

static hob_pair *add_header(hob_response *response, hob_arena *arena, hob_text name) {
    if (response->header_count == response->header_room) {
        size_t room = response->header_room > 0 ? response->header_room * 2 : 8;
        hob_pair *headers =
            hob__arena_grow(arena, response->headers, response->header_room * sizeof *headers, room * sizeof *headers);
        if (headers == NULL)
            return NULL;
        response->headers = headers;
        response->header_room = room;
    }
    hob_text copy = hob__arena_copy(arena, name);
    if (copy.data == NULL)
        return NULL;
    hob_pair *header = &response->headers[response->header_count++];
    *header = (hob_pair){copy, {0}};
    return header;
}

bool hob__response_set(hob_response *response, hob_arena *arena, hob_text name, hob_text value) {
    if (!may_be_set(name))
        return true;
    char *copy = hob__arena_alloc(arena, value.size + 1);
    if (copy == NULL)
        return false;
    hob_text cut = cut_controls(copy, value);
    if (hob__text_equal_nocase(name, HOB_TEXT("Content-Type"))) {
        response->content_type = cut;
        return true;
    }
    hob_pair *header = find_header(response, name);
    if (header == NULL)
        header = add_header(response, arena, name);
    if (header)
        header->value = cut;
    return header != NULL;
}

hob_text hob__response_header(const hob_response *response, hob_text name) {
    if (hob__text_equal_nocase(name, HOB_TEXT("Content-Type")))
        return response->content_type;
    const hob_pair *header = find_header(response, name);
    return header ? header->value : (hob_text){0};
}

/* ---- The head ---- */

typedef struct block {
    char *bytes;
    size_t size, room;
} block;

static void put(block *block, hob_text text) {
    memcpy(block->bytes + block->size, text.data, text.size);
    block->size += text.size;
}

static size_t line_size(hob_text name, hob_text value) {
    return name.size + 2 + value.size + 2;
}

/* Leaves room for the empty line. */
static void put_line(block *block, hob_text name, hob_text value) {
    if (line_size(name, value) + 2 > block->room - block->size) {
        hob__log(HOB_LOG_ERROR, "a header did not fit the answer: '" HOB_FMT "'", HOB_ARG(name));
        return;
    }
    put(block, name);
    put(block, HOB_TEXT(": "));
    put(block, value.data ? value : HOB_TEXT(""));
    put(block, HOB_TEXT("\r\n"));
}

#define FIXED_LINES 128 /* Status and Content-Length with their longest values, "Content-Type" and the empty line */

static size_t head_room(const hob_response *response) {
    size_t room = FIXED_LINES + response->content_type.size;
    for (size_t i = 0; i < response->header_count; i++)
        room += line_size(response->headers[i].name, response->headers[i].value);
    return room < HOB_HEADER_BLOCK_MAX ? room : HOB_HEADER_BLOCK_MAX;
}

static hob_text decimal(char digits[20], size_t value) {
    char *at = digits + 20;
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    return (hob_text){at, (size_t)(digits + 20 - at)};
}

static void put_status(block *block, int status) {
    char digits[20], line[64];
    hob_text code = decimal(digits, (size_t)status), phrase = hob_text_of(hob__status_phrase(status));
    memcpy(line, code.data, code.size);
    line[code.size] = ' ';
    memcpy(line + code.size + 1, phrase.data, phrase.size);
    put_line(block, HOB_TEXT("Status"), (hob_text){line, code.size + (phrase.size > 0) + phrase.size});
}

static void put_fixed(block *block, const hob_response *response) {
    char digits[20];
    put_status(block, response->status);
    if (has_no_content(response->status))
        return;
    if (response->content_type.size > 0)
        put_line(block, HOB_TEXT("Content-Type"), response->content_type);
    put_line(block, HOB_TEXT("Content-Length"), decimal(digits, response->body.size));
}

/* HAProxy 2.6 makes 302 of every answer whose Location follows its Status. */
static const hob_pair *put_location(block *block, const hob_response *response) {
    const hob_pair *location = find_header(response, HOB_TEXT("Location"));
    size_t rest = FIXED_LINES + response->content_type.size;
    if (location == NULL || line_size(location->name, location->value) + rest > block->room)
        return NULL;
    put_line(block, location->name, location->value);
    return location;
}

hob_text hob__response_head(hob_response *response, hob_arena *arena) {
    block block = {.room = head_room(response)};
    block.bytes = hob__arena_alloc(arena, block.room);
    if (block.bytes == NULL) {
        (void)hob__response_out_of_memory(response, hob__response_header(response, HOB_TEXT("X-Request-ID")));
        block.bytes = response->spare_head;
        block.room = sizeof response->spare_head;
    }
    const hob_pair *location = put_location(&block, response);
    put_fixed(&block, response);
    for (size_t i = 0; i < response->header_count; i++)
        if (&response->headers[i] != location)
            put_line(&block, response->headers[i].name, response->headers[i].value);
    put(&block, HOB_TEXT("\r\n"));
    return (hob_text){block.bytes, block.size};
}

/* ---- When memory ran out ---- */

static void log_out_of_memory(hob_text request_id) {
    hob_log_line line;
    if (!hob__log_enabled(HOB_LOG_WARN))
        return;
    hob__log_begin(&line, HOB_LOG_WARN, HOB_TEXT("out of memory"));
    hob__log_text(&line, "request_id", request_id);
    hob__log_end(&line);
}

int hob__response_out_of_memory(hob_response *response, hob_text instance) {
    if (response->headers == response->spare_headers)
        return response->status;
    log_out_of_memory(instance);
    response->spare_headers[0] = (hob_pair){HOB_TEXT("Retry-After"), HOB_TEXT(RETRY_AFTER_MEMORY)};
    response->spare_headers[1] = (hob_pair){HOB_TEXT("X-Request-ID"), instance};
    response->headers = response->spare_headers;
    response->header_room = 2;
    response->header_count = instance.data ? 2 : 1;
    response->status = 503;
    response->content_type = HOB_TEXT("application/problem+json");
    response->problem_detail = HOB_TEXT("out of memory");
    response->body = HOB_TEXT("{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                              "\"detail\":\"out of memory\"}");
    return response->status;
}
