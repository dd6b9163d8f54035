/* A request as every front hands it over: environment indexed, path decoded, body whole. Knows nothing of FastCGI. */
#ifndef HOB_HTTP_REQUEST_H
#define HOB_HTTP_REQUEST_H

#include "base/arena.h"
#include "base/random.h"
#include "hob.h"

typedef enum hob_http_method {
    HOB_GET,
    HOB_HEAD,
    HOB_POST,
    HOB_PUT,
    HOB_PATCH,
    HOB_DELETE,
    HOB_OPTIONS,
    HOB_METHODS, /* how many there are */
    HOB_METHOD_UNKNOWN = HOB_METHODS
} hob_http_method;
extern const hob_text hob__method_names[HOB_METHODS];
hob_http_method hob__method_of(hob_text name); /* case-sensitive (RFC 9110, 9.1) */

typedef struct hob_pair {
    hob_text name, value;
} hob_pair;

/* What is wrong with a request before any handler sees it; each becomes one problem. */
typedef enum hob_request_fault {
    HOB_REQUEST_GOOD,
    HOB_REQUEST_BAD_PATH,     /* 400: percent-encoding, NUL, invalid UTF-8 */
    HOB_REQUEST_BAD_LENGTH,   /* 400: CONTENT_LENGTH is no number */
    HOB_REQUEST_WRONG_LENGTH, /* 400: the body is shorter or longer than CONTENT_LENGTH */
    HOB_REQUEST_TOO_LARGE,    /* 413 */
    HOB_REQUEST_TIMED_OUT,    /* 408 */
    HOB_REQUEST_NO_MEMORY     /* 503 */
} hob_request_fault;

#define HOB_REQUEST_ID_MAX 64
#define HOB_ENCODED_SLASH '\xff' /* no byte of UTF-8 */

typedef struct hob_request {
    hob_http_method method;
    hob_text method_name;
    hob_text target; /* REQUEST_URI as it came */
    hob_text path;   /* decoded once, below the mount; starts with '/' */
    /* What the router sees: path byte for byte, but an encoded slash is HOB_ENCODED_SLASH and so separates nothing. No
     * text when the path is not below the mount. */
    hob_text route_path;
    hob_text query;    /* raw, behind '?' */
    hob_pair *headers; /* names in lower case with '-': "content-type", each once */
    size_t header_count;
    hob_text body;
    hob_text content_type;               /* no text when absent or empty */
    hob_text peer;                       /* REMOTE_ADDR */
    hob_text client;                     /* peer, until hob_real_ip finds a better one */
    hob_text id;                         /* set by hob_request_id */
    char own_id[HOB_REQUEST_ID_MAX + 1]; /* where hob_request_id keeps it: it must not need memory */
    int64_t started;                     /* monotonic ns: when its first byte was read */
    int64_t content_length;              /* -1: until the end of the body (absent, empty or -1) */
    bool truncated_parameters;           /* what came was not whole: never run */
    hob_request_fault fault;
    const struct hob_route_info *route; /* NULL until one is found (http/serve.c) */
} hob_request;

/* Reads a CGI environment (RFC 3875; "NAME=value" strings, NULL-terminated, which must outlive the request) into
 * *request, whose memory is the arena's; every member is set. started and the body, with its faults, are filled in by
 * the front afterwards. Faults are left in request->fault. mount: HOB_MOUNT or NULL; a path not below it keeps its
 * whole path and finds no route, the mount itself is "/". environment.c says what becomes of what web servers pass. */
void hob__request_from_environment(hob_request *request, hob_arena *arena, char *const *strings, const char *mount);
hob_text hob__request_header(const hob_request *request, hob_text name); /* any case; no text when absent */
hob_text hob__mount(const char *mount); /* without the slash at its end; size 0 when there is none */

/* Percent-decodes (RFC 3986, 2.1) into the arena; what needs no decoding is borrowed. false: bad encoding, NUL, invalid
 * UTF-8, or no memory. plus: '+' is a blank. */
bool hob__percent_decode(hob_arena *arena, hob_text in, bool plus, hob_text *out) HOB_MUST_CHECK;
/* The same into both forms of a request's path. */
bool hob__path_decode(hob_arena *arena, hob_text raw, hob_text *path, hob_text *route_path) HOB_MUST_CHECK;
/* The first query parameter of that name, decoded. 1 found, 0 absent, -1 its encoding is bad. */
int hob__query_find(hob_arena *arena, hob_text query, hob_text name, hob_text *value) HOB_MUST_CHECK;
/* "application/json; charset=UTF-8" is `type` (case-insensitive), with no charset or UTF-8 (RFC 9110, 8.3). */
bool hob__media_type_is(hob_text content_type, hob_text type);

#endif
