#include "http/request.h"

#include <string.h>

#include "base/text.h"

const hob_text hob__method_names[HOB_METHODS] = {
    [HOB_GET] = HOB_TEXT("GET"),         [HOB_HEAD] = HOB_TEXT("HEAD"),   [HOB_POST] = HOB_TEXT("POST"),
    [HOB_PUT] = HOB_TEXT("PUT"),         [HOB_PATCH] = HOB_TEXT("PATCH"), [HOB_DELETE] = HOB_TEXT("DELETE"),
    [HOB_OPTIONS] = HOB_TEXT("OPTIONS"),
};

/* The meta-variables (RFC 3875, 4.1) that are not headers. */
typedef enum variable {
    REQUEST_METHOD,
    REQUEST_URI,
    SCRIPT_NAME,
    PATH_INFO,
    QUERY_STRING,
    REMOTE_ADDR,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    VARIABLES
} variable;

static const hob_text variable_names[VARIABLES] = {
    [REQUEST_METHOD] = HOB_TEXT("REQUEST_METHOD"), [REQUEST_URI] = HOB_TEXT("REQUEST_URI"),
    [SCRIPT_NAME] = HOB_TEXT("SCRIPT_NAME"),       [PATH_INFO] = HOB_TEXT("PATH_INFO"),
    [QUERY_STRING] = HOB_TEXT("QUERY_STRING"),     [REMOTE_ADDR] = HOB_TEXT("REMOTE_ADDR"),
    [CONTENT_TYPE] = HOB_TEXT("CONTENT_TYPE"),     [CONTENT_LENGTH] = HOB_TEXT("CONTENT_LENGTH"),
};

hob_http_method hob__method_of(hob_text name) {
    for (int method = 0; method < HOB_METHODS; method++)
        if (hob_text_equal(hob__method_names[method], name))
            return (hob_http_method)method;
    return HOB_METHOD_UNKNOWN;
}

hob_text hob__mount(const char *mount) {
    hob_text text = hob_text_of(mount);
    while (text.size > 0 && text.data[text.size - 1] == '/')
        text.size--;
    return text;
}

static void set_fault(hob_request *request, hob_request_fault fault) {
    if (request->fault == HOB_REQUEST_GOOD)
        request->fault = fault;
}

/* ---- Headers ---- */

/* The name of the header in "HTTP_..." without that; size 0 when it is none, or one not to be believed: HTTP_PROXY
 * would be taken for a proxy's address by libraries, and the content's two have variables of their own. */
static hob_text header_name(hob_text name) {
    static const hob_text refused[] = {HOB_TEXT("PROXY"), HOB_TEXT("CONTENT_TYPE"), HOB_TEXT("CONTENT_LENGTH")};
    if (!hob__text_starts(name, HOB_TEXT("HTTP_")))
        return (hob_text){0};
    name.data += 5;
    name.size -= 5;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (hob_text_equal(name, refused[i]))
            return (hob_text){0};
    return name;
}

static hob_text spelled_as_header(hob_text variable_name, char *spelled) {
    for (size_t i = 0; i < variable_name.size; i++) {
        char c = variable_name.data[i];
        spelled[i] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return (hob_text){spelled, variable_name.size};
}

static void add_header(hob_request *request, hob_text name, hob_text value) {
    request->headers[request->header_count++] = (hob_pair){name, value};
}

/* Room for all headers there may be, and behind them for all their names. false: no memory. */
static bool make_room(hob_request *request, hob_arena *arena, char *const *environment, char **names) {
    size_t count = 2, size = 0; /* the content's two are literals */
    for (; *environment; environment++)
        if (strncmp(*environment, "HTTP_", 5) == 0) {
            size += strlen(*environment);
            count++;
        }
    request->headers = hob__arena_alloc(arena, count * sizeof *request->headers + size);
    if (request->headers == NULL)
        return false;
    *names = (char *)(request->headers + count);
    return true;
}

static void sort_variable(hob_text name, hob_text value, hob_text variables[VARIABLES]) {
    for (int i = 0; i < VARIABLES; i++)
        if (variables[i].data == NULL && hob_text_equal(variable_names[i], name))
            variables[i] = value;
}

static bool index_environment(hob_request *request, hob_arena *arena, char *const *environment,
                              hob_text variables[VARIABLES]) {
    char *names;
    if (!make_room(request, arena, environment, &names))
        return false;
    for (; *environment; environment++) {
        hob_text value = hob_text_of(*environment), name;
        (void)hob__text_split(&value, '=', &name);
        hob_text header = header_name(name);
        if (value.data == NULL)
            continue;
        if (header.size > 0)
            add_header(request, spelled_as_header(header, names), value);
        else
            sort_variable(name, value, variables);
        names += header.size;
    }
    if (variables[CONTENT_TYPE].size > 0)
        add_header(request, HOB_TEXT("content-type"), variables[CONTENT_TYPE]);
    if (variables[CONTENT_LENGTH].size > 0)
        add_header(request, HOB_TEXT("content-length"), variables[CONTENT_LENGTH]);
    return true;
}

hob_text hob__request_header(const hob_request *request, hob_text name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (hob__text_equal_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return (hob_text){0};
}

/* ---- Path and query ---- */

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

static void read_path(hob_request *request, hob_arena *arena, const hob_text variables[VARIABLES], hob_text mount) {
    bool good =
        request->target.size > 0 ? read_target(request, arena) : read_script_and_path(request, arena, variables);
    if (!good) {
        set_fault(request, HOB_REQUEST_BAD_PATH);
        request->path = HOB_TEXT("/");
        request->route_path = (hob_text){0};
    } else if (mount.size > 0) {
        go_below(request, mount);
    }
}

static void read_length(hob_request *request, hob_text length) {
    if (length.size == 0 || hob_text_equal(length, HOB_TEXT("-1")))
        return;
    if (length.data[0] == '-' || !hob__text_to_int(length, &request->content_length))
        set_fault(request, HOB_REQUEST_BAD_LENGTH);
}

void hob__request_from_environment(hob_request *request, hob_arena *arena, char *const *environment,
                                   const char *mount) {
    hob_text variables[VARIABLES] = {{0}};
    *request = (hob_request){.method = HOB_METHOD_UNKNOWN, .path = HOB_TEXT("/"), .content_length = -1};
    if (!index_environment(request, arena, environment, variables)) {
        request->fault = HOB_REQUEST_NO_MEMORY;
        return;
    }
    request->method_name = variables[REQUEST_METHOD];
    request->method = hob__method_of(request->method_name);
    request->target = variables[REQUEST_URI];
    request->peer = request->client = variables[REMOTE_ADDR];
    if (variables[CONTENT_TYPE].size > 0)
        request->content_type = variables[CONTENT_TYPE];
    read_path(request, arena, variables, hob__mount(mount));
    read_length(request, variables[CONTENT_LENGTH]);
    if (hob__arena_failed(arena))
        request->fault = HOB_REQUEST_NO_MEMORY;
}

/* ---- Content-Type ---- */

/* What stands before the next ';' that is not in a quoted string (RFC 9110, 5.6.4). */
static bool next_parameter(hob_text *rest, hob_text *parameter) {
    bool quoted = false;
    size_t at = 0;
    if (rest->data == NULL)
        return false;
    for (; at < rest->size && (quoted || rest->data[at] != ';'); at++) {
        if (rest->data[at] == '"')
            quoted = !quoted;
        else if (rest->data[at] == '\\' && quoted && at + 1 < rest->size)
            at++;
    }
    *parameter = hob__text_trim((hob_text){rest->data, at});
    *rest = at < rest->size ? (hob_text){rest->data + at + 1, rest->size - at - 1} : (hob_text){0};
    return true;
}

static bool is_other_charset(hob_text parameter) {
    hob_text value = parameter, name;
    (void)hob__text_split(&value, '=', &name);
    if (!hob__text_equal_nocase(name, HOB_TEXT("charset")))
        return false;
    return !hob__text_equal_nocase(value, HOB_TEXT("utf-8")) && !hob__text_equal_nocase(value, HOB_TEXT("\"utf-8\""));
}

bool hob__media_type_is(hob_text content_type, hob_text type) {
    hob_text parameter;
    if (!next_parameter(&content_type, &parameter) || !hob__text_equal_nocase(parameter, type))
        return false;
    while (next_parameter(&content_type, &parameter))
        if (is_other_charset(parameter))
            return false;
    return true;
}
