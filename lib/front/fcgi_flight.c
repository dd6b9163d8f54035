#include "front/fcgi_flight.h"

#include <fastcgi.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/random.h"
#include "base/text.h"
#include "http/response.h"

#define FLIGHTS 32768 /* as many as one process has fibers for */

static hob_flight flights[FLIGHTS];
static size_t used; /* those behind were never open */
static hob_flight *spare;

/* A signal may come between any two stores, so what makes the others valid is stored last, and taken away first. */
static void fence(void) {
    atomic_signal_fence(memory_order_seq_cst);
}

hob_flight *hob__flight_open(int fd) {
    hob_flight *flight = spare;
    if (flight != NULL)
        spare = flight->next_spare;
    else if (used < FLIGHTS)
        flight = &flights[used++];
    else
        return NULL;
    flight->fd = fd;
    return flight;
}

void hob__flight_begin(hob_flight *flight, hob_request *request, const hob_arena *arena, int fcgi_id) {
    if (flight == NULL)
        return;
    flight->arena = arena;
    flight->fcgi_id = (uint16_t)fcgi_id;
    fence();
    flight->request = request;
}

void hob__flight_end(hob_flight *flight) {
    if (flight == NULL)
        return;
    flight->request = NULL;
    fence();
}

void hob__flight_close(hob_flight *flight) {
    if (flight == NULL)
        return;
    flight->fd = 0;
    fence();
    flight->next_spare = spare;
    spare = flight;
}

const hob_flight *hob__flight_next(const hob_flight *previous) {
    const hob_flight *flight = previous != NULL ? previous + 1 : flights;
    while (flight < flights + used && flight->request == NULL)
        flight++;
    return flight < flights + used ? flight : NULL;
}

void hob__flight_hang_up_idle(void) {
    for (const hob_flight *flight = flights; flight < flights + used; flight++)
        if (flight->fd > 0 && flight->request == NULL)
            (void)shutdown(flight->fd, SHUT_RDWR);
}

/* ---- The answer, in a buffer on the signal's stack ---- */

typedef struct block {
    size_t size;
    char bytes[1024];
} block;

static void put(block *block, const void *bytes, size_t size) {
    if (size > sizeof(block->bytes) - block->size)
        return; /* cannot be: all that goes in is short */
    memcpy(block->bytes + block->size, bytes, size);
    block->size += size;
}

static void put_text(block *block, const char *text) {
    put(block, text, strlen(text));
}

static void put_number(block *block, size_t value) {
    char digits[24];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put(block, digits + at, sizeof(digits) - at);
}

static void put_record(block *block, const hob_flight *flight, uint8_t type, const void *content, size_t size) {
    const uint8_t id_high = (uint8_t)(flight->fcgi_id >> 8), id_low = (uint8_t)flight->fcgi_id;
    const uint8_t header[FCGI_HEADER_LEN] = {FCGI_VERSION_1,       type,          id_high, id_low,
                                             (uint8_t)(size >> 8), (uint8_t)size, 0,       0};
    put(block, header, sizeof(header));
    put(block, content, size);
}

static void put_document(block *block, int status, const char *detail, const char *id) {
    put_text(block, "{\"type\":\"about:blank\",\"title\":\"");
    put_text(block, hob__status_phrase(status));
    put_text(block, "\",\"status\":");
    put_number(block, (size_t)status);
    put_text(block, ",\"detail\":\"");
    put_text(block, detail);
    put_text(block, "\",\"instance\":\"");
    put_text(block, id);
    put_text(block, "\"}");
}

static void put_head(block *block, int status, const char *id, size_t length) {
    put_text(block, "Status: ");
    put_number(block, (size_t)status);
    put_text(block, " ");
    put_text(block, hob__status_phrase(status));
    put_text(block, "\r\nContent-Type: application/problem+json\r\nContent-Length: ");
    put_number(block, length);
    put_text(block, "\r\nX-Request-ID: ");
    put_text(block, id);
    put_text(block, "\r\n\r\n");
}

/* What has overwritten the heap may have overwritten the id. */
static void make_harmless(char *id) {
    id[HOB_REQUEST_ID_MAX] = '\0';
    for (; *id != '\0'; id++) {
        char c = *id;
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && c != '.' && c != '_' && c != '-')
            *id = '?';
    }
}

static const char *id_of(hob_request *request) {
    if (request->own_id[0] == '\0')
        hob__uuid7(request->own_id); /* it had not come so far */
    make_harmless(request->own_id);
    request->id = hob_text_of(request->own_id);
    return request->own_id;
}

static bool send_records(const hob_flight *flight, const block *http) {
    const FCGI_EndRequestBody end = {.protocolStatus = FCGI_REQUEST_COMPLETE};
    block records = {0};
    put_record(&records, flight, FCGI_STDOUT, http->bytes, http->size);
    put_record(&records, flight, FCGI_STDOUT, "", 0);
    put_record(&records, flight, FCGI_END_REQUEST, &end, sizeof(end));
    bool sent = send(flight->fd, records.bytes, records.size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)records.size;
    (void)shutdown(flight->fd, SHUT_WR);
    return sent;
}

bool hob__flight_answer(const hob_flight *flight, int status, const char *detail) {
    const char *id = id_of(flight->request);
    block document = {0}, http = {0};
    put_document(&document, status, detail, id);
    put_head(&http, status, id, document.size);
    if (flight->request->method != HOB_HEAD)
        put(&http, document.bytes, document.size);
    if (flight->fcgi_id == HOB_FLIGHT_CGI)
        return write(flight->fd, http.bytes, http.size) == (ssize_t)http.size;
    return send_records(flight, &http);
}
