/*
 * hob.h: everything an application may call.
 *
 * An application is a set of handlers. A handler runs in a fiber of its own: it is written as if it blocked, and
 * while it waits for the database, the cache, another fiber or a timer, the worker serves other requests.
 *
 *     static int ping(hob_ctx *c) {
 *         return hob_text_reply(c, 200, HOB_TEXT("pong"));
 *     }
 *
 *     int main(int argc, char **argv) {
 *         hob_app *app = hob_new("hello");
 *         hob_use(app, hob_request_id, hob_access_log, hob_recover, hob_deadline);
 *         hob_get(app, "/ping", ping);
 *         return hob_main(app, argc, argv);
 *     }
 *
 * Conventions, true of every declaration below:
 *   - What is allocated through a hob_ctx lives until its request has been answered. An application never frees.
 *   - A handler returns the HTTP status of its answer. A function that can fail in a way the client must hear of
 *     returns 0 when all is well, else the status of the problem it has already written, ready to be returned.
 *   - When memory runs out (HOB_MAX_REQUEST_MEMORY is a hard bound), functions that return text return the empty one
 *     and those that return a pointer NULL, every function below accepts what another returned, and the request is
 *     answered 503 whatever its handler returns. Only the result of hob_alloc needs a check before it is written to.
 *   - A worker is one thread: between two waits nothing else runs, so handlers need no locks.
 */
#ifndef HOB_H
#define HOB_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <json-c/json.h>

#pragma GCC visibility push(default)

#define HOB_VERSION "0.1.0"
#define HOB_MUST_CHECK __attribute__((warn_unused_result))
#define HOB_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))

typedef struct hob_ctx hob_ctx;       /* one request, or one branch of a group within it */
typedef struct hob_router hob_router; /* a path prefix with its routes and middlewares */
typedef hob_router hob_app;           /* the outermost router is the application */

/* ---- Text: pointer and length, UTF-8, not NUL-terminated unless said so. data is NULL when there is none. ---- */

typedef struct hob_text {
    const char *data;
    size_t size;
} hob_text;

#define HOB_TEXT(literal) ((hob_text){"" literal, sizeof(literal) - 1})
#define HOB_FMT "%.*s" /* printf("user " HOB_FMT, HOB_ARG(name)) */
#define HOB_ARG(text) (int)(text).size, (text).data

hob_text hob_text_of(const char *terminated); /* borrows; NULL gives no text */
static inline bool hob_text_equal(hob_text a, hob_text b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ---- Memory of the request ---- */

void *hob_alloc(hob_ctx *c, size_t size) HOB_MUST_CHECK; /* 16-byte aligned, uninitialised; NULL when memory ran out */
hob_text hob_format(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3); /* NUL-terminated */
hob_text hob_copy(hob_ctx *c, hob_text text);                              /* NUL-terminated */
void hob_defer(hob_ctx *c, void (*fn)(void *arg), void *arg); /* runs when the request is over, last first */

/* ---- The application ---- */

typedef int hob_handler(hob_ctx *c);

/* A middleware wraps what comes after it: work, status = hob_next(c, chain), work. Not calling hob_next ends the way
 * of the request there, with the status returned. */
typedef struct hob_chain hob_chain;
typedef int hob_middleware(hob_ctx *c, const hob_chain *chain);
int hob_next(hob_ctx *c, const hob_chain *chain);

/* Returns NULL only when memory ran out, which every function below accepts; hob_main then says so. */
hob_app *hob_new(const char *name);

/* Runs the command line: a FastCGI worker when fd 0 is a listening socket, a CGI program when a web server started it
 * as one, else the commands that --help lists. Returns the exit status of main. */
int hob_main(hob_app *app, int argc, char **argv);

/* Routes. A pattern is literal segments, {name} (one segment), {name:int} (an int64 from 1), {name:uuid}, and
 * {name...} at the end (the rest, slashes too). A literal goes before a typed parameter, that before an untyped one,
 * that before a rest. GET serves HEAD; OPTIONS and 405 answer by themselves. A pattern that is wrong or conflicts with
 * another stops the start with a line that names both. Middlewares given behind the handler are the route's own. */
#define hob_get(router, pattern, ...) hob_handle(router, "GET", pattern, __VA_ARGS__)
#define hob_post(router, pattern, ...) hob_handle(router, "POST", pattern, __VA_ARGS__)
#define hob_put(router, pattern, ...) hob_handle(router, "PUT", pattern, __VA_ARGS__)
#define hob_patch(router, pattern, ...) hob_handle(router, "PATCH", pattern, __VA_ARGS__)
#define hob_delete(router, pattern, ...) hob_handle(router, "DELETE", pattern, __VA_ARGS__)
#define hob_handle(router, method, pattern, handler, ...)                                                              \
    hob_handle_list(router, method, pattern, handler, (hob_middleware *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define hob_use(router, ...) hob_use_list(router, (hob_middleware *const[]){__VA_ARGS__, NULL})

void hob_handle_list(hob_router *router, const char *method, const char *pattern, hob_handler *handler,
                     hob_middleware *const *own);
void hob_use_list(hob_router *router, hob_middleware *const *list); /* for this router's routes, nested ones included */
hob_router *hob_route(hob_router *parent, const char *prefix);      /* a group below a prefix */

/* Ready-made middlewares, outermost first as users-api uses them. */
hob_middleware hob_request_id; /* X-Request-ID: the client's when well formed, else a UUIDv7 (RFC 9562) */
hob_middleware hob_real_ip;    /* X-Forwarded-For, believed from HOB_TRUSTED_PROXIES only */
hob_middleware hob_access_log; /* one JSON line a request */
hob_middleware hob_recover;    /* a handler that answered nothing, or nonsense, becomes a 500 problem */
hob_middleware hob_deadline;   /* HOB_REQUEST_TIMEOUT: what waits beyond it answers 504 */

/* Ready-made handlers for probes. */
hob_handler hob_livez; /* 200 while the worker turns */
/* 200 while the database is up and the worker is not draining, else 503; no round trip, but by CGI, which connects */
hob_handler hob_readyz;

/* ---- The request ---- */

hob_text hob_method(const hob_ctx *c);
hob_text hob_path(const hob_ctx *c);   /* decoded once, below HOB_MOUNT */
hob_text hob_id(const hob_ctx *c);     /* the request id */
hob_text hob_client(const hob_ctx *c); /* the client's address */
hob_text hob_header(const hob_ctx *c,
                    const char *name); /* any case; several of a name joined by ", " (RFC 9110, 5.3) */
hob_text hob_body(const hob_ctx *c);   /* the bytes as they came */
int64_t hob_path_int(const hob_ctx *c, const char *name); /* of {name:int}; 0 when the route has none */
hob_text hob_path_text(const hob_ctx *c, const char *name);
hob_text hob_query_text(const hob_ctx *c, const char *name); /* decoded; the first of its name; no text when absent */
/* *out is left as it is when the parameter is absent; 400 when it is no integer in [min, max]. */
int hob_query_int(hob_ctx *c, const char *name, int64_t min, int64_t max, int64_t *out) HOB_MUST_CHECK;

/* Values of the request, by the address of a static key of the one who sets them. */
bool hob_set_value(hob_ctx *c, const void *key, void *value);
void *hob_value(const hob_ctx *c, const void *key);

/* ---- The answer ---- */

/* Replaces a header of that name. CR, LF and other control bytes never reach the wire. */
void hob_set_header(hob_ctx *c, const char *name, const char *format, ...) HOB_PRINTF(3, 4);
int hob_reply(hob_ctx *c, int status, const char *content_type, hob_text body); /* body is borrowed until the end */
int hob_text_reply(hob_ctx *c, int status, hob_text body);                      /* text/plain; charset=utf-8 */
int hob_json(hob_ctx *c, int status, json_object *tree); /* serialized at once; tree stays its owner's */
int hob_no_content(hob_ctx *c);                          /* 204 */
/* Location, below HOB_MOUNT; for a 201 (RFC 9110, 10.2.2). */
void hob_set_location(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3);

/* Problem documents (RFC 9457); the detail is for the client, UTF-8. Each returns its status. */
int hob_problem(hob_ctx *c, int status, const char *format, ...) HOB_PRINTF(3, 4);
int hob_bad_request(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3);                    /* 400 */
int hob_not_found(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3);                      /* 404 */
int hob_conflict(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3);                       /* 409 */
int hob_unavailable(hob_ctx *c, int retry_after_s, const char *format, ...) HOB_PRINTF(3, 4); /* 503 */

/* ---- Fields: said once, used for the body, its validation, and JSON out ---- */

typedef enum hob_type {
    HOB_INT = 1, /* int64_t       JSON integer      int2, int4, int8 */
    HOB_STRING,  /* hob_text      JSON string       text, varchar, uuid */
    HOB_BOOL,    /* bool          true, false       bool */
    HOB_DOUBLE,  /* double        JSON number       float4, float8 */
    HOB_TIME,    /* int64_t, microseconds since 1970 UTC   RFC 3339 with microseconds and Z   timestamptz */
    HOB_JSON,    /* out only      JSON as it is     json, jsonb */
    HOB_LIST     /* hob_list      JSON array of objects   body only */
} hob_type;

typedef struct hob_list {
    void *items; /* of the size that the field's item_size says */
    size_t count;
} hob_list;

typedef struct hob_field {
    const char *name; /* in JSON; a table ends with a field that has none */
    hob_type type;
    const char *column; /* in the row; the name when not given */
    bool server;        /* the server's own: not accepted in a body */
    bool optional;      /* a body may leave it out or say null */
    bool trim;          /* white space (ASCII) around a string is taken off before it is checked */
    size_t offset;      /* where the value goes in the application's struct: offsetof(struct user, name) */
    int64_t min, max;   /* an integer's value (both 0: any), a string's length in characters, a list's length */
    const char *(*check)(hob_text value); /* of a string: NULL when good, else what is wrong: "must be ..." */
    const struct hob_field *items;        /* a list's fields */
    size_t item_size;
    const char *unique; /* the constraint whose violation (23505) names this field: 409 */
} hob_field;

/* Reads the body by the table into the application's struct: 400 when it is no JSON (RFC 8259), 415 when it does not
 * say so, 413 when too large, 422 with every fault at once. Text points into the request's memory.
 * hob_bind_some takes any subset and leaves the rest of the struct as it is (RFC 7396; application/merge-patch+json is
 * welcome there too). */
int hob_bind(hob_ctx *c, const hob_field *fields, void *into) HOB_MUST_CHECK;
int hob_bind_some(hob_ctx *c, const hob_field *fields, void *into) HOB_MUST_CHECK;
/* Checks: no control characters; neither these nor white space (Unicode's own too). */
const char *hob_no_control(hob_text value);
const char *hob_no_blank(hob_text value);

/* ---- JSON out: json-c trees. Those that hob makes are the request's; json_object_put is never needed. ---- */

json_object *hob_object(hob_ctx *c);
json_object *hob_own(hob_ctx *c, json_object *tree); /* hands one of json-c's own over to the request, and returns it */
/* key must outlive the request: a literal. */
void hob_set(hob_ctx *c, json_object *object, const char *key, json_object *value);

/* ---- Database ---- */

typedef struct hob_query {
    const char *sql;
    bool write;
} hob_query;

// clang-format off
/* A read may be sent again when a connection was lost; a write is never sent twice. Reads that leave together are one
 * transaction to the server, and answered before it ends; one that must be SERIALIZABLE belongs in hob_db_tx. */
#define HOB_READ(text) {.sql = (text), .write = false}
#define HOB_WRITE(text) {.sql = (text), .write = true}
// clang-format on

typedef enum hob_param_kind {
    HOB_PARAM_NULL,
    HOB_PARAM_INT,
    HOB_PARAM_TEXT,
    HOB_PARAM_BOOL,
    HOB_PARAM_DOUBLE,
    HOB_PARAM_TIME,
    HOB_PARAM_UUID,
    HOB_PARAM_BYTEA,
    HOB_PARAM_ARRAY
} hob_param_kind;

typedef struct hob_param {
    hob_param_kind kind, element; /* element: of an array */
    union {
        int64_t integer; /* also microseconds since 1970 UTC */
        hob_text text;   /* also a uuid's, and the bytes of a bytea */
        bool boolean;
        double real;
        struct {
            const void *values;
            size_t count;
        } array;
    };
} hob_param;

static inline hob_param hob_null(void) {
    return (hob_param){.kind = HOB_PARAM_NULL};
}
static inline hob_param hob_int(int64_t v) {
    return (hob_param){.kind = HOB_PARAM_INT, .integer = v};
}
static inline hob_param hob_bool(bool v) {
    return (hob_param){.kind = HOB_PARAM_BOOL, .boolean = v};
}
static inline hob_param hob_double(double v) {
    return (hob_param){.kind = HOB_PARAM_DOUBLE, .real = v};
}
static inline hob_param hob_time(int64_t us) {
    return (hob_param){.kind = HOB_PARAM_TIME, .integer = us};
}
/* No text (data is NULL) is SQL's NULL. */
static inline hob_param hob_str(hob_text v) {
    return (hob_param){.kind = HOB_PARAM_TEXT, .text = v};
}
/* In its usual form, 8-4-4-4-12 hexadecimal digits, as paths and hob_rows_text have it. */
static inline hob_param hob_uuid(hob_text v) {
    return (hob_param){.kind = HOB_PARAM_UUID, .text = v};
}
static inline hob_param hob_bytea(hob_text v) {
    return (hob_param){.kind = HOB_PARAM_BYTEA, .text = v};
}
static inline hob_param hob_array(hob_param_kind element, const void *v, size_t n) {
    return (hob_param){.kind = HOB_PARAM_ARRAY, .element = element, .array = {v, n}};
}
static inline hob_param hob_ints(const int64_t *v, size_t n) {
    return hob_array(HOB_PARAM_INT, v, n);
}
static inline hob_param hob_texts(const hob_text *v, size_t n) {
    return hob_array(HOB_PARAM_TEXT, v, n);
}
static inline hob_param hob_bools(const bool *v, size_t n) {
    return hob_array(HOB_PARAM_BOOL, v, n);
}
static inline hob_param hob_doubles(const double *v, size_t n) {
    return hob_array(HOB_PARAM_DOUBLE, v, n);
}
static inline hob_param hob_times(const int64_t *us, size_t n) {
    return hob_array(HOB_PARAM_TIME, us, n);
}
static inline hob_param hob_uuids(const hob_text *v, size_t n) {
    return hob_array(HOB_PARAM_UUID, v, n);
}
static inline hob_param hob_byteas(const hob_text *v, size_t n) {
    return hob_array(HOB_PARAM_BYTEA, v, n);
}

typedef struct hob_rows hob_rows; /* what a query brought: rows, or why there are none */

/* Waits for the result, bounded by the request's deadline. Arrays and text are borrowed until it returns. */
#define hob_db_query(c, query, ...) hob_db_query_list(c, query, HOB__PARAMS(__VA_ARGS__))
hob_rows *hob_db_query_list(hob_ctx *c, const hob_query *query, const hob_param *params, size_t count) HOB_MUST_CHECK;
#define HOB__PARAMS(...)                                                                                               \
    &(const hob_param[]){hob_null() __VA_OPT__(, ) __VA_ARGS__}[1],                                                    \
        sizeof((const hob_param[]){hob_null() __VA_OPT__(, ) __VA_ARGS__}) / sizeof(hob_param) - 1

/* Runs fn in a transaction on a connection of its own: committed when fn returns 0 or a status below 400, else rolled
 * back; what fn returned, or the status of the problem when the transaction itself failed. fn runs again (at most 3
 * times in all) after a serialization failure or deadlock, so all it does besides queries must bear repeating. */
typedef struct hob_tx_options {
    enum { HOB_TX_DEFAULT, HOB_TX_REPEATABLE_READ, HOB_TX_SERIALIZABLE } isolation;
    bool read_only;
} hob_tx_options;
typedef int hob_task_fn(hob_ctx *c, void *arg);
int hob_db_tx(hob_ctx *c, hob_tx_options options, hob_task_fn *fn, void *arg) HOB_MUST_CHECK;
/* A query that fn asks as its last one: COMMIT travels with it, a round trip less. It has succeeded when both have, and
 * what fn returns then undoes nothing. */
#define hob_db_query_last(c, query, ...) hob_db_query_last_list(c, query, HOB__PARAMS(__VA_ARGS__))
hob_rows *hob_db_query_last_list(hob_ctx *c, const hob_query *query, const hob_param *params,
                                 size_t count) HOB_MUST_CHECK;

/* 0 when the query succeeded (with any number of rows), else the status of the problem written: 409, 422, 503, 504,
 * 500. A violation of a field's unique constraint names it; fields may be NULL. */
int hob_rows_status(hob_ctx *c, const hob_rows *rows, const hob_field *fields) HOB_MUST_CHECK;
size_t hob_rows_count(const hob_rows *rows);
/* One value. NULL, a row that is not there, or a column that is absent or of another type (the log then names both)
 * gives 0, false or no text. Text lives as long as the request. */
bool hob_rows_null(const hob_rows *rows, size_t row, const char *column);
int64_t hob_rows_int(const hob_rows *rows, size_t row, const char *column);    /* int2, int4, int8 */
bool hob_rows_bool(const hob_rows *rows, size_t row, const char *column);      /* bool */
double hob_rows_double(const hob_rows *rows, size_t row, const char *column);  /* float4, float8 */
int64_t hob_rows_time(const hob_rows *rows, size_t row, const char *column);   /* timestamptz; us since 1970 UTC */
hob_text hob_rows_text(const hob_rows *rows, size_t row, const char *column);  /* text, varchar, uuid, json, jsonb */
hob_text hob_rows_bytea(const hob_rows *rows, size_t row, const char *column); /* bytea */
/* json-c nodes that write straight from the result. Members set on a row's object follow its fields. */
json_object *hob_row_object(hob_ctx *c, const hob_rows *rows, size_t row, const hob_field *fields);
json_object *hob_rows_array(hob_ctx *c, const hob_rows *rows, const hob_field *fields);

/* The usual ends of a handler. 200 with the first row; 404 without one. */
int hob_rows_one(hob_ctx *c, const hob_rows *rows, const hob_field *fields);

typedef struct hob_page {
    int64_t limit; /* rows a page: 1-100, 20 unless asked (limit=) */
    int64_t after; /* the cursor, a positive int64 (after=); 0 on the first page */
} hob_page;
int hob_page_of(hob_ctx *c, hob_page *page) HOB_MUST_CHECK; /* 400 when limit= or after= is bad */
/* 200 {"<name>": [...], "next": cursor or null} and Link rel="next" (RFC 8288). Ask the database for limit + 1 rows;
 * the cursor is the column `key` of the last row shown. */
int hob_rows_page(hob_ctx *c, const hob_rows *rows, const hob_field *fields, const char *name, const hob_page *page,
                  const char *key);

/* ---- Cache ---- */

/* 1-200 printable characters without blanks, not beginning with "g:" */
hob_text hob_key(hob_ctx *c, const char *format, ...) HOB_PRINTF(2, 3);
/* Answers with the cached body, else runs load, a handler that answers with 200 and JSON, and keeps what it answered;
 * that there is none (404 with its detail) it keeps for HOB_CACHE_NEGATIVE_TTL. Whatever else load answers is passed on
 * and not kept. An unreachable cache only means that load runs. */
int hob_cached(hob_ctx *c, hob_text key, int64_t ttl_s, hob_task_fn *load, void *arg); /* ttl_s 0: HOB_CACHE_TTL */
/* The same for what is made of several entities, a list or a summary: hob_forget of any of their keys (at most 16)
 * makes it load anew. */
int hob_cached_on(hob_ctx *c, hob_text key, const hob_text *entities, size_t count, int64_t ttl_s, hob_task_fn *load,
                  void *arg);
/* Called by load: what it answers this time is not kept. Where that there is none is never kept, an insert has nothing
 * to forget. */
void hob_no_store(hob_ctx *c);
/* Call before a write that changes what is kept under key, or depends on it, or behind an insert whose key it made:
 * from now until the request's end readers load from the database and keep nothing; then the entry is gone. After a
 * write that failed with a status of 499 or above this lasts until it must have been decided. */
void hob_forget(hob_ctx *c, hob_text key);

/* ---- Fan-out and waiting ---- */

/* Branches of one request, each in a fiber with a ctx of its own. The first to return a status of 400 or above cancels
 * the others and its answer becomes that of the group. Children share the request's memory and read its values; a group
 * that was not waited for is cancelled when its request ends. */
typedef struct hob_group hob_group;
hob_group *hob_group_new(hob_ctx *c);
void hob_group_limit(hob_group *g, size_t n); /* branches at a time; hob_group_go waits for room. 0: no limit */
void hob_group_go(hob_group *g, hob_task_fn *fn, void *arg);
int hob_group_wait(hob_group *g) HOB_MUST_CHECK; /* 0, or the status of the first failure */

/* A weighted semaphore, first come first served, shared by the requests of this worker. */
typedef struct hob_semaphore hob_semaphore;
hob_semaphore *hob_semaphore_new(int64_t weight); /* lives as long as the worker */
/* 0; 503 when the deadline passed first. */
int hob_acquire(hob_ctx *c, hob_semaphore *s, int64_t weight) HOB_MUST_CHECK;
bool hob_try_acquire(hob_semaphore *s, int64_t weight) HOB_MUST_CHECK;
void hob_release(hob_semaphore *s, int64_t weight);

int hob_sleep(hob_ctx *c, int64_t ms) HOB_MUST_CHECK; /* 0; 504 past the deadline; 499 when the client has gone */
/* Runs fn in a bounded pool of threads while the fiber sleeps; for work that can only block or computes for long. fn
 * must not touch any ctx. Returns when fn has ended, be the deadline what it may. 0, or 503 when the pool's queue is
 * full. */
int hob_offload(hob_ctx *c, void (*fn)(void *arg), void *arg) HOB_MUST_CHECK;

/* ---- Log: one JSON object a line, with the request id; never blocks ---- */

typedef enum hob_log_level { HOB_LOG_ERROR, HOB_LOG_WARN, HOB_LOG_INFO, HOB_LOG_DEBUG } hob_log_level;
void hob_log(const hob_ctx *c, hob_log_level level, const char *format, ...) HOB_PRINTF(3, 4);

/* ---- Tests: the application in-process, through the real router and middlewares ---- */

typedef struct hob_test_header {
    const char *name, *value;
} hob_test_header;

typedef struct hob_test_response hob_test_response;
/* body NULL: none; else it is sent as application/json unless headers (ended by a NULL name; may be NULL) say
 * otherwise. Never NULL; freed by hob_test_end or by the next request. */
const hob_test_response *hob_test_request(hob_app *app, const char *method, const char *target, const char *body);
const hob_test_response *hob_test_request_with(hob_app *app, const char *method, const char *target,
                                               const hob_test_header *headers, const char *body);
int hob_test_status(const hob_test_response *r);
const char *hob_test_body(const hob_test_response *r);                        /* NUL-terminated */
const char *hob_test_header_of(const hob_test_response *r, const char *name); /* NULL when absent */
void hob_test_end(hob_app *app);                                              /* frees all that app holds */

#pragma GCC visibility pop
#endif
