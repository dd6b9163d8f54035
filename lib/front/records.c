#include "front/records.h"

#include <fastcgi.h>
#include <stdio.h>
#include <string.h>

_Static_assert(HOB_RECORD_HEADER == FCGI_HEADER_LEN, "records have the header of FastCGI 1.0, 3.3");

static const char *const VALUE_NAMES[] = {FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS};
#define VALUE_COUNT (sizeof(VALUE_NAMES) / sizeof(VALUE_NAMES[0]))

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* ---- Name-value pairs ---- */

static uint32_t length_at(const uint8_t *bytes) {
    if (bytes[0] < 0x80)
        return bytes[0];
    return (uint32_t)(bytes[0] & 0x7f) << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static size_t length_width(uint8_t first) {
    return first < 0x80 ? 1 : 4;
}

/* Both lengths of a pair have come. */
static const char *begin_pair(hob_pairs *pairs, size_t name_width) {
    uint32_t name = length_at(pairs->lengths), value = length_at(pairs->lengths + name_width);
    pairs->length_size = 0;
    if (name > pairs->max_total || value > pairs->max_total)
        return "a parameter is too long";
    if (++pairs->count > HOB_PARAMS_COUNT_MAX)
        return "too many parameters";
    pairs->name_size = pairs->name_left = name;
    pairs->value_left = value;
    return NULL;
}

static const char *take_length(hob_pairs *pairs, uint8_t byte) {
    pairs->lengths[pairs->length_size++] = byte;
    size_t name_width = length_width(pairs->lengths[0]);
    if (pairs->length_size <= name_width)
        return NULL;
    if (pairs->length_size < name_width + length_width(pairs->lengths[name_width]))
        return NULL;
    return begin_pair(pairs, name_width);
}

static void take_name(hob_pairs *pairs, const uint8_t *bytes, size_t size) {
    size_t at = pairs->name_size - pairs->name_left;
    if (at < sizeof(pairs->name))
        memcpy(pairs->name + at, bytes, smaller(size, sizeof(pairs->name) - at));
    pairs->name_left -= (uint32_t)size;
    if (pairs->name_left > 0)
        return;
    for (size_t i = 0; i < VALUE_COUNT; i++)
        if (strlen(VALUE_NAMES[i]) == pairs->name_size && memcmp(VALUE_NAMES[i], pairs->name, pairs->name_size) == 0)
            pairs->known |= 1u << i;
}

/* NULL, or what is wrong. */
static const char *take_pairs(hob_pairs *pairs, const uint8_t *bytes, size_t size) {
    pairs->total += (uint32_t)size;
    if (pairs->total > pairs->max_total)
        return "the parameters are too long";
    while (size > 0) {
        uint32_t left = pairs->name_left > 0 ? pairs->name_left : pairs->value_left;
        size_t n = left > 0 ? smaller(size, left) : 1;
        const char *fault = NULL;
        if (left == 0)
            fault = take_length(pairs, *bytes);
        else if (memchr(bytes, 0, n) != NULL)
            fault = "a parameter contains NUL"; /* libfcgi makes C strings of them: the rest would silently be lost */
        else if (pairs->name_left > 0)
            take_name(pairs, bytes, n);
        else
            pairs->value_left -= (uint32_t)n;
        if (fault != NULL)
            return fault;
        bytes += n;
        size -= n;
    }
    return NULL;
}

static bool pairs_whole(const hob_pairs *pairs) {
    return pairs->length_size == 0 && pairs->name_left == 0 && pairs->value_left == 0;
}

/* ---- Replies ---- */

static const char *reply(hob_records_out *out, uint8_t type, const uint8_t *content, size_t size) {
    if (sizeof(out->reply) - out->reply_size < HOB_RECORD_HEADER + size)
        return "too many management records";
    uint8_t header[HOB_RECORD_HEADER] = {FCGI_VERSION_1, type, 0, 0, 0, (uint8_t)size};
    memcpy(out->reply + out->reply_size, header, sizeof(header));
    memcpy(out->reply + out->reply_size + sizeof(header), content, size);
    out->reply_size += sizeof(header) + size;
    return NULL;
}

static const char *reply_values(const hob_records *records, hob_records_out *out) {
    uint8_t content[VALUE_COUNT * (2 + sizeof(records->values.name) + 10)];
    size_t size = 0;
    if (!pairs_whole(&records->values))
        return "FCGI_GET_VALUES ends within a pair";
    for (size_t i = 0; i < VALUE_COUNT; i++) {
        if ((records->values.known & 1u << i) == 0)
            continue;
        bool multiplexes = strcmp(VALUE_NAMES[i], FCGI_MPXS_CONNS) == 0;
        char value[11];
        int value_size = snprintf(value, sizeof(value), "%" PRIu32, multiplexes ? 0 : records->capacity);
        size_t name_size = strlen(VALUE_NAMES[i]);
        content[size++] = (uint8_t)name_size;
        content[size++] = (uint8_t)value_size;
        memcpy(content + size, VALUE_NAMES[i], name_size);
        memcpy(content + size + name_size, value, (size_t)value_size);
        size += name_size + (size_t)value_size;
    }
    return reply(out, FCGI_GET_VALUES_RESULT, content, size);
}

static const char *reply_unknown(hob_records_out *out, uint8_t type) {
    uint8_t body[sizeof(FCGI_UnknownTypeBody)] = {type};
    return reply(out, FCGI_UNKNOWN_TYPE, body, sizeof(body));
}

/* ---- Headers: each says what becomes of its record's content ---- */

static const char *begin_management(hob_records *records, uint8_t type, hob_records_out *out) {
    if (records->content_left > HOB_GET_VALUES_MAX)
        return "a management record is too long";
    if (type != FCGI_GET_VALUES)
        return reply_unknown(out, type);
    records->content = HOB_CONTENT_VALUES;
    records->values = (hob_pairs){.max_total = HOB_GET_VALUES_MAX};
    return records->content_left > 0 ? NULL : reply_values(records, out);
}

static const char *begin_request(hob_records *records, uint16_t id) {
    if (records->content_left != sizeof(FCGI_BeginRequestBody))
        return "FCGI_BEGIN_REQUEST has a wrong length";
    if (id == records->request_id)
        return "FCGI_BEGIN_REQUEST came twice";
    records->content = HOB_CONTENT_PASSED;
    if (records->state != HOB_RECORDS_BETWEEN)
        return NULL; /* libfcgi answers FCGI_CANT_MPX_CONN */
    records->state = HOB_RECORDS_PARAMS;
    records->request_id = id;
    records->params = (hob_pairs){.max_total = HOB_PARAMS_SIZE_MAX};
    return NULL;
}

static const char *begin_params(hob_records *records) {
    if (records->state != HOB_RECORDS_PARAMS)
        return "FCGI_PARAMS came behind their end";
    records->content = HOB_CONTENT_PARAMS;
    if (records->content_left > 0)
        return NULL;
    if (!pairs_whole(&records->params))
        return "FCGI_PARAMS end within a pair";
    records->state = HOB_RECORDS_STDIN;
    return NULL;
}

static const char *begin_stdin(hob_records *records) {
    if (records->state != HOB_RECORDS_STDIN)
        return "FCGI_STDIN came before the end of FCGI_PARAMS";
    records->content = HOB_CONTENT_PASSED;
    if (records->content_left == 0)
        records->state = HOB_RECORDS_ENDED;
    return NULL;
}

static const char *abort_request(hob_records *records) {
    if (records->content_left > 0)
        return "FCGI_ABORT_REQUEST has content";
    records->content = HOB_CONTENT_PASSED;
    records->state = HOB_RECORDS_ENDED;
    records->aborted = true;
    return NULL;
}

static const char *begin_record(hob_records *records, hob_records_out *out) {
    const uint8_t *header = records->header;
    uint16_t id = (uint16_t)(header[2] << 8 | header[3]);
    records->content_left = (uint16_t)(header[4] << 8 | header[5]);
    records->padding_left = header[6];
    records->content = HOB_CONTENT_DROPPED;
    if (header[0] != FCGI_VERSION_1)
        return "this is not FastCGI version 1";
    if (id == FCGI_NULL_REQUEST_ID)
        return begin_management(records, header[1], out);
    if (header[1] == FCGI_BEGIN_REQUEST)
        return begin_request(records, id);
    if (id != records->request_id)
        return NULL;
    switch (header[1]) {
    case FCGI_PARAMS:
        return begin_params(records);
    case FCGI_STDIN:
        return begin_stdin(records);
    case FCGI_ABORT_REQUEST:
        return abort_request(records);
    default:
        return "a record of this type has no place in a request";
    }
}

/* ---- The filter ---- */

static void pass(const hob_records *records, const uint8_t *bytes, size_t size, hob_records_out *out) {
    if (records->content != HOB_CONTENT_PASSED && records->content != HOB_CONTENT_PARAMS)
        return;
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
}

static size_t take_header(hob_records *records, const uint8_t *in, size_t size, hob_records_out *out) {
    size_t n = smaller(size, (size_t)HOB_RECORD_HEADER - records->header_size);
    memcpy(records->header + records->header_size, in, n);
    records->header_size = (uint8_t)(records->header_size + n);
    if (records->header_size < HOB_RECORD_HEADER)
        return n;
    records->header_size = 0;
    records->fault = begin_record(records, out);
    if (records->fault == NULL)
        pass(records, records->header, HOB_RECORD_HEADER, out);
    return n;
}

static size_t take_content(hob_records *records, const uint8_t *in, size_t size, hob_records_out *out) {
    size_t n = smaller(size, records->content_left);
    records->content_left = (uint16_t)(records->content_left - n);
    if (records->content == HOB_CONTENT_PARAMS)
        records->fault = take_pairs(&records->params, in, n);
    if (records->content == HOB_CONTENT_VALUES) {
        records->fault = take_pairs(&records->values, in, n);
        if (records->fault == NULL && records->content_left == 0)
            records->fault = reply_values(records, out);
    }
    if (records->fault == NULL)
        pass(records, in, n, out);
    return n;
}

static size_t take_padding(hob_records *records, const uint8_t *in, size_t size, hob_records_out *out) {
    size_t n = smaller(size, records->padding_left);
    records->padding_left = (uint8_t)(records->padding_left - n);
    pass(records, in, n, out);
    return n;
}

void hob__records_init(hob_records *records, uint32_t capacity) {
    *records = (hob_records){.capacity = capacity};
}

bool hob__records_filter(hob_records *records, const uint8_t *in, size_t size, hob_records_out *out) {
    while (size > 0 && records->fault == NULL && !records->trailing) {
        size_t n = 0;
        if (records->content_left > 0)
            n = take_content(records, in, size, out);
        else if (records->padding_left > 0)
            n = take_padding(records, in, size, out);
        else if (records->state == HOB_RECORDS_ENDED)
            records->trailing = true;
        else
            n = take_header(records, in, size, out);
        in += n;
        size -= n;
    }
    return records->fault == NULL;
}

void hob__records_next(hob_records *records) {
    records->state = HOB_RECORDS_BETWEEN;
    records->request_id = FCGI_NULL_REQUEST_ID;
    records->content = HOB_CONTENT_DROPPED; /* padding that is still to come belongs to the old request */
    records->aborted = false;
}

bool hob__records_idle(const hob_records *records) {
    return records->state == HOB_RECORDS_BETWEEN && records->header_size == 0 && records->content_left == 0;
}

bool hob__records_drained(const hob_records *records) {
    return records->state == HOB_RECORDS_ENDED && !records->trailing;
}
