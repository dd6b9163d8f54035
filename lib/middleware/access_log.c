/* One line a request. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/ctx.h"

/* Overload and dependencies that are down have been logged where they were noticed; a 500 is a fault of the program. */
static hob_log_level level_of(int status) {
    return status == 500 ? HOB_LOG_ERROR : status > 500 ? HOB_LOG_WARN : HOB_LOG_INFO;
}

/* As the client spelled it, without the query, which may hold what no log should. */
static hob_text logged_path(const hob_request *request) {
    hob_text target = request->target.size > 0 ? request->target : request->path;
    const char *query = target.size > 0 ? memchr(target.data, '?', target.size) : NULL;
    return query ? (hob_text){target.data, (size_t)(query - target.data)} : target;
}

static void write_line(const hob_ctx *c, int status, int64_t duration_ns) {
    const hob_request *request = c->request;
    const hob_response *response = c->response;
    hob_log_line line;
    hob__log_begin(&line, level_of(status), HOB_TEXT("request"));
    hob__log_text(&line, "request_id", request->id);
    hob__log_int(&line, "status", status);
    hob__log_int(&line, "duration_us", duration_ns / HOB_US);
    hob__log_int(&line, "bytes", hob__response_has_body(response, request->method) ? (int64_t)response->body.size : 0);
    hob__log_text(&line, "client", request->client);
    hob__log_text(&line, "route", hob_text_of(c->match->route ? c->match->route->pattern : ""));
    /* What a client can make as long as it likes comes last: a line that is full cuts it and nothing else. */
    hob__log_text(&line, "method", request->method_name);
    hob__log_text(&line, "path", logged_path(request));
    if (response->problem_detail.data)
        hob__log_text(&line, "detail", response->problem_detail);
    hob__log_end(&line);
}

int hob_access_log(hob_ctx *c, const hob_chain *chain) {
    int64_t started = c->request->started > 0 ? c->request->started : hob__clock_ns();
    int status = hob_next(c, chain);
    if (hob__log_enabled(level_of(status)))
        write_line(c, status, hob__clock_ns() - started);
    return status;
}
