/*
 * The environment that a web server passes becomes a hob_request. What servers do differently is resolved here and
 * nowhere else: behind each of them a request is the same. Seen with nginx 1.22, Apache 2.4.71 (mod_fcgid,
 * mod_proxy_fcgi, mod_cgid), lighttpd 1.4.69, Caddy 2.6, h2o 2.2 and HAProxy 2.6; tests/unit/http/environment_test.c
 * has what they pass, and rows for each of these:
 *
 *   what                  how servers differ                              here
 *   SCRIPT_NAME,          the whole path in the first (nginx, HAProxy,    neither counts: the path is REQUEST_URI's,
 *   PATH_INFO             mod_proxy_fcgi), in the second (h2o, Caddy),    and where that is missing (RFC 3875 has
 *                         or split somewhere (the others)                 none) the two together
 *   the mount             left on, split off, taken off by a rewrite      HOB_MOUNT, taken off the path
 *   percent-encoding      REQUEST_URI raw; the others decoded, encoded    decoded once; an encoded slash separates
 *                         slashes too (Apache: not)                       nothing
 *   "//", "/../"          resolved for the server's own rules (nginx,     "//" finds no route; nor does "." or "..":
 *                         Apache, lighttpd), or not                       those rules have seen another path
 *   "http://host/path"    as it came (Apache, h2o, HAProxy)               the path in it
 *   QUERY_STRING          missing when empty (HAProxy)                    what is behind the '?' of REQUEST_URI
 *   CONTENT_LENGTH when   0, empty (nginx), missing (h2o, mod_cgid,       empty, missing and -1: until the end of
 *   there is no body      mod_proxy_fcgi)                                 the body
 *   and when it is        counted; missing (mod_cgid); -1 (Caddy)
 *   chunked
 *   CONTENT_TYPE          empty when missing (nginx, Caddy)               empty is missing
 *   HTTP_CONTENT_TYPE,    passed beside those without HTTP_ (nginx,       dropped: a client can make them differ by
 *   HTTP_CONTENT_LENGTH   Caddy, lighttpd, h2o)                           a header named Content_Length
 *   HTTP_PROXY            passed (nginx, Caddy, h2o)                      dropped: CVE-2016-5385, "httpoxy"
 *   several headers of    a variable each (nginx, h2o, HAProxy); joined   joined by ", " (RFC 9110, 5.3), cookies by
 *   one name              by ", " (Apache, Caddy, lighttpd); refused;     "; " (RFC 9113, 8.2.3); what must be single
 *                         the first alone (If-None-Match, lighttpd)       is no longer any: 415, 400, a new id
 *   empty headers         passed, or left out (lighttpd)                  as passed; no header is asked whether it
 *                                                                         is there, only what it says
 *   names                 upper case, '_' for '-'                         lower case, '-'
 *   Authorization         left out unless told to pass it                 as passed: see conf/
 *                         (mod_proxy_fcgi, mod_cgid, HAProxy)
 *   REDIRECT_*            of a request before an internal redirect        ignored
 *                         (Apache); for PHP (nginx, lighttpd)
 *
 * A meta-variable that comes twice was configured twice: the first counts.
 */
#include <string.h>

#include "base/text.h"
#include "http/request.h"

/* The meta-variables (RFC 3875, 4.1) that are not headers. */
typedef enum variable {
    REQUEST_METHOD,
    REQUEST_URI,
    SCRIPT_NAME,
    PATH_INFO,
    QUERY_STRING,
    REMOTE_ADDR,
    VARIABLES
} variable;

static const hob_text variable_names[VARIABLES] = {
    [REQUEST_METHOD] = HOB_TEXT("REQUEST_METHOD"), [REQUEST_URI] = HOB_TEXT("REQUEST_URI"),
    [SCRIPT_NAME] = HOB_TEXT("SCRIPT_NAME"),       [PATH_INFO] = HOB_TEXT("PATH_INFO"),
    [QUERY_STRING] = HOB_TEXT("QUERY_STRING"),     [REMOTE_ADDR] = HOB_TEXT("REMOTE_ADDR"),
};

#define FIRST_ROOM 24 /* headers: more than most requests have */

typedef struct environment {
    hob_request *request;
    hob_arena *arena;
    size_t header_room;
    uint64_t seen; /* names, a bit each by their shape: most come once, and need no search */
    hob_text variables[VARIABLES];
} environment;

static void set_fault(hob_request *request, hob_request_fault fault) {
    if (request->fault == HOB_REQUEST_GOOD)
        request->fault = fault;
}

/* ---- Headers ---- */

static uint64_t shape_of(hob_text name) {
    return UINT64_C(1) << ((name.size + 7 * (size_t)name.data[0] + 3 * (size_t)name.data[name.size - 1]) % 64);
}

static hob_pair *find_header(hob_request *request, hob_text name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (hob_text_equal(request->headers[i].name, name))
            return &request->headers[i];
    return NULL;
}

static void join(hob_arena *arena, hob_pair *header, hob_text value) {
    const char *separator = hob_text_equal(header->name, HOB_TEXT("cookie")) ? "; " : ", ";
    if (header->value.size == 0)
        header->value = value;
    else if (value.size > 0)
        header->value =
            hob__arena_format(arena, HOB_FMT "%s" HOB_FMT, HOB_ARG(header->value), separator, HOB_ARG(value));
}

static bool has_room(environment *e) {
    hob_request *request = e->request;
    if (request->header_count < e->header_room)
        return true;
    size_t room = e->header_room > 0 ? 2 * e->header_room : FIRST_ROOM, one = sizeof *request->headers;
    hob_pair *headers = hob__arena_grow(e->arena, request->headers, e->header_room * one, room * one);
    if (headers == NULL)
        return false;
    request->headers = headers;
    e->header_room = room;
    return true;
}

static void add_header(environment *e, hob_text name, hob_text value) {
    uint64_t shape = shape_of(name);
    hob_pair *same = e->seen & shape ? find_header(e->request, name) : NULL;
    e->seen |= shape;
    if (same != NULL)
        join(e->arena, same, value);
    else if (has_room(e))
        e->request->headers[e->request->header_count++] = (hob_pair){name, value};
}

static hob_text spelled_as_header(hob_arena *arena, hob_text variable_name) {
    char *spelled = hob__arena_alloc(arena, variable_name.size);
    if (spelled == NULL)
        return (hob_text){0};
    for (size_t i = 0; i < variable_name.size; i++) {
        char c = variable_name.data[i];
        spelled[i] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return (hob_text){spelled, variable_name.size};
}

/* name: without "HTTP_". */
static void take_header(environment *e, hob_text name, hob_text value) {
    static const hob_text dropped[] = {HOB_TEXT("PROXY"), HOB_TEXT("CONTENT_TYPE"), HOB_TEXT("CONTENT_LENGTH")};
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (hob_text_equal(name, dropped[i]))
            return;
    hob_text spelled = spelled_as_header(e->arena, name);
    if (spelled.size > 0)
        add_header(e, spelled, value);
}

/* ---- Variables ---- */

static void take_variable(environment *e, hob_text name, hob_text value) {
    if (hob_text_equal(name, HOB_TEXT("CONTENT_TYPE"))) {
        if (value.size > 0)
            add_header(e, HOB_TEXT("content-type"), value);
    } else if (hob_text_equal(name, HOB_TEXT("CONTENT_LENGTH"))) {
        if (value.size > 0 && !hob_text_equal(value, HOB_TEXT("-1")))
            add_header(e, HOB_TEXT("content-length"), value);
    } else {
        for (int i = 0; i < VARIABLES; i++)
            if (e->variables[i].data == NULL && hob_text_equal(variable_names[i], name))
                e->variables[i] = value;
    }
}

static void take_all(environment *e, char *const *strings) {
    static const hob_text http = HOB_TEXT("HTTP_");
    for (; *strings != NULL; strings++) {
        hob_text value = hob_text_of(*strings), name;
        (void)hob__text_split(&value, '=', &name);
        if (value.data == NULL)
            continue;
        if (hob__text_starts(name, http))
            take_header(e, (hob_text){name.data + http.size, name.size - http.size}, value);
        else
            take_variable(e, name, value);
    }
}

static void read_length(hob_request *request) {
    hob_text length = hob__request_header(request, HOB_TEXT("content-length"));
    if (length.data == NULL)
        return;
    if (length.data[0] == '-' || !hob__text_to_int(length, &request->content_length))
        set_fault(request, HOB_REQUEST_BAD_LENGTH);
}

/* ---- Path and query ---- */

hob_text hob__mount(const char *mount) {
    hob_text text = hob_text_of(mount);
    while (text.size > 0 && text.data[text.size - 1] == '/')
        text.size--;
    return text;
}

/* The path with the query of a target in any form that RFC 9112, 3.2, allows: "http://host/path?query" is
 * "/path?query". */
static hob_text without_authority(hob_text target) {
    size_t at = 0;
    if (target.size >= 7 && hob__text_equal_nocase((hob_text){target.data, 7}, HOB_TEXT("http://")))
        at = 7;
    else if (target.size >= 8 && hob__text_equal_nocase((hob_text){target.data, 8}, HOB_TEXT("https://")))
        at = 8;
    if (at > 0)
        while (at < target.size && target.data[at] != '/' && target.data[at] != '?')
            at++;
    return (hob_text){target.data + at, target.size - at};
}

static bool read_target(hob_request *request, hob_arena *arena) {
    hob_text path;
    request->query = without_authority(request->target);
    (void)hob__text_split(&request->query, '?', &path);
    if (path.size == 0)
        path = HOB_TEXT("/");
    return hob__path_decode(arena, path, &request->path, &request->route_path) && request->path.data[0] == '/';
}

/* Where the server gives no REQUEST_URI. SCRIPT_NAME and PATH_INFO are decoded already. */
static bool read_script_and_path(hob_request *request, hob_arena *arena, const hob_text variables[VARIABLES]) {
    request->query = variables[QUERY_STRING];
    hob_text path =
        hob__arena_format(arena, HOB_FMT HOB_FMT, HOB_ARG(variables[SCRIPT_NAME]), HOB_ARG(variables[PATH_INFO]));
    request->path = request->route_path = path.size > 0 ? path : HOB_TEXT("/");
    return hob__utf8_valid_prefix(path) == path.size && request->path.data[0] == '/';
}

static bool has_dot_segment(hob_text route_path) {
    size_t begin = 0;
    for (size_t at = 0; at <= route_path.size; at++) {
        if (at < route_path.size && route_path.data[at] != '/' && route_path.data[at] != HOB_ENCODED_SLASH)
            continue;
        hob_text segment = {route_path.data + begin, at - begin};
        if (hob_text_equal(segment, HOB_TEXT(".")) || hob_text_equal(segment, HOB_TEXT("..")))
            return true;
        begin = at + 1;
    }
    return false;
}

static void go_below(hob_request *request, hob_text mount) {
    hob_text *path = &request->path, *route_path = &request->route_path;
    bool below =
        hob__text_starts(*route_path, mount) && (route_path->size == mount.size || route_path->data[mount.size] == '/');
    if (!below) {
        *route_path = (hob_text){0};
    } else if (route_path->size == mount.size) {
        *path = *route_path = HOB_TEXT("/");
    } else {
        *path = (hob_text){path->data + mount.size, path->size - mount.size};
        *route_path = (hob_text){route_path->data + mount.size, path->size};
    }
}

static void read_path(environment *e, hob_text mount) {
    hob_request *request = e->request;
    bool good = request->target.size > 0 ? read_target(request, e->arena)
                                         : read_script_and_path(request, e->arena, e->variables);
    if (!good || !hob__percent_decode(e->arena, mount, false, &mount)) {
        set_fault(request, HOB_REQUEST_BAD_PATH);
        request->path = HOB_TEXT("/");
        request->route_path = (hob_text){0};
    } else if (has_dot_segment(request->route_path)) {
        request->route_path = (hob_text){0};
    } else if (mount.size > 0) {
        go_below(request, mount);
    }
}

void hob__request_from_environment(hob_request *request, hob_arena *arena, char *const *strings, const char *mount) {
    environment e = {.request = request, .arena = arena};
    *request = (hob_request){.method = HOB_METHOD_UNKNOWN, .path = HOB_TEXT("/"), .content_length = -1};
    take_all(&e, strings);
    request->method_name = e.variables[REQUEST_METHOD];
    request->method = hob__method_of(request->method_name);
    request->target = e.variables[REQUEST_URI];
    request->peer = request->client = e.variables[REMOTE_ADDR];
    request->content_type = hob__request_header(request, HOB_TEXT("content-type"));
    read_path(&e, hob__mount(mount));
    read_length(request);
    if (hob__arena_failed(arena))
        request->fault = HOB_REQUEST_NO_MEMORY;
}
