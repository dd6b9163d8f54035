/*
 * The filter between a web server's bytes and libfcgi, which trusts them too far: a long FCGI_GET_VALUES overflows its
 * stack, a huge length aborts the process, an empty record of another request swallows the next one, and it cannot tell
 * whether bytes followed a request's end. Pure: no I/O, no allocation; however the stream is split, the same bytes come
 * out.
 *
 * State: BETWEEN -> PARAMS (FCGI_BEGIN_REQUEST) -> STDIN (empty FCGI_PARAMS) -> ENDED (empty FCGI_STDIN, or
 * FCGI_ABORT_REQUEST from the two before) -> BETWEEN (hob__records_next). A fault is final.
 */
#ifndef HOB_FRONT_RECORDS_H
#define HOB_FRONT_RECORDS_H

#include "hob.h"

#define HOB_RECORD_HEADER 8
#define HOB_PARAMS_SIZE_MAX (256 * 1024) /* of one request's FCGI_PARAMS, lengths included */
#define HOB_PARAMS_COUNT_MAX 1000
#define HOB_GET_VALUES_MAX 1024
#define HOB_RECORDS_REPLY_MAX 256

/* Follows a stream of name-value pairs (FastCGI 1.0, 3.4) across any split. */
typedef struct hob_pairs {
    uint32_t total, count, max_total;
    uint32_t name_size, name_left, value_left;
    uint8_t lengths[8], length_size;
    char name[16];  /* the first bytes of the name */
    unsigned known; /* bit i: the i-th name that FCGI_GET_VALUES may ask for was seen */
} hob_pairs;

typedef struct hob_records {
    const char *fault; /* NULL while all is well; then the connection must be closed */
    bool trailing;     /* bytes came behind the request's end: libfcgi would lose them, so do not keep the connection */
    bool aborted;      /* the request ended by FCGI_ABORT_REQUEST */
    enum { HOB_RECORDS_BETWEEN, HOB_RECORDS_PARAMS, HOB_RECORDS_STDIN, HOB_RECORDS_ENDED } state;
    /* private to records.c */
    enum { HOB_CONTENT_DROPPED, HOB_CONTENT_PASSED, HOB_CONTENT_PARAMS, HOB_CONTENT_VALUES } content;
    uint16_t request_id; /* 0 in BETWEEN */
    uint16_t content_left;
    uint8_t padding_left, header_size, header[HOB_RECORD_HEADER];
    uint32_t capacity;
    hob_pairs params, values;
} hob_records;

/* What one call yields. bytes: for libfcgi, with room for HOB_RECORD_HEADER more than was put in. reply: for the web
 * server. */
typedef struct hob_records_out {
    uint8_t *bytes;
    size_t size;
    size_t reply_size;
    uint8_t reply[HOB_RECORDS_REPLY_MAX];
} hob_records_out;

/* capacity: the answer to FCGI_MAX_CONNS and FCGI_MAX_REQS. */
void hob__records_init(hob_records *records, uint32_t capacity);
/* Appends to *out. false: records->fault says what is wrong with the stream. */
bool hob__records_filter(hob_records *records, const uint8_t *in, size_t size, hob_records_out *out) HOB_MUST_CHECK;
/* The request was answered; what comes now belongs to the next one. */
void hob__records_next(hob_records *records);
/* No request and no part of a record has come: the connection idles. */
bool hob__records_idle(const hob_records *records);
/* The request was read to its very end, so the connection may be kept. */
bool hob__records_drained(const hob_records *records);

#endif
