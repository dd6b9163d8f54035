/* One request through its middlewares to whatever answers it. */
#include "base/config.h"
#include "http/ctx.h"

#define RETRY_AFTER_MEMORY_S 1

int hob_next(hob_ctx *c, const hob_chain *chain) {
    hob_middleware *first = *chain->rest;
    return first ? first(c, &(hob_chain){.rest = chain->rest + 1, .handler = chain->handler}) : chain->handler(c);
}

int hob__settle(hob_ctx *c, int status) {
    hob_response *response = c->response;
    if (hob__arena_failed(c->arena))
        return hob__response_out_of_memory(response, c->request->id);
    if (status == response->status && status >= 200 && status <= 599)
        return status;
    hob_log(c, HOB_LOG_ERROR, "%s returned status %d having answered %d",
            c->match->route ? c->match->route->pattern : "a middleware", status, response->status);
    return hob_problem(c, 500, "the server made a mistake; its log knows it by this instance");
}

/* ---- What answers when no route's handler does ---- */

static int answer_fault(hob_ctx *c) {
    switch (c->request->fault) {
    case HOB_REQUEST_BAD_PATH:
        return hob_bad_request(c, "the path is not valid percent-encoded UTF-8");
    case HOB_REQUEST_BAD_LENGTH:
        return hob_bad_request(c, "Content-Length is not a number");
    case HOB_REQUEST_WRONG_LENGTH:
        return hob_bad_request(c, "the body is not as long as Content-Length says");
    case HOB_REQUEST_TOO_LARGE:
        return hob_problem(c, 413, "the body is larger than %" PRId64 " bytes", c->config->max_body);
    case HOB_REQUEST_TIMED_OUT:
        return hob_problem(c, 408, "the request did not arrive in time");
    case HOB_REQUEST_NO_MEMORY:
        return hob_unavailable(c, RETRY_AFTER_MEMORY_S, "out of memory");
    case HOB_REQUEST_GOOD:
        break;
    }
    return hob_bad_request(c, "the request is not whole");
}

static void allow(hob_ctx *c) {
    char buffer[64]; /* all methods are 44 */
    hob_text list = hob__allow_of(c->match->allowed, buffer, sizeof buffer);
    hob_set_header(c, "Allow", HOB_FMT, HOB_ARG(list));
}

static int answer_options(hob_ctx *c) {
    allow(c);
    return hob_no_content(c);
}

static int answer_not_allowed(hob_ctx *c) {
    allow(c);
    return hob_problem(c, 405, "this path does not know the method " HOB_FMT, HOB_ARG(c->request->method_name));
}

static int answer_not_found(hob_ctx *c) {
    return hob_not_found(c, "there is nothing at this path");
}

/* Only what found its route also passes the middlewares of groups and of the route. */
static hob_chain chain_for(const hob_application *application, const hob_ctx *ctx) {
    const hob_request *request = ctx->request;
    const hob_match *match = ctx->match;
    hob_chain outer = {.rest = application->outer, .handler = answer_not_found};
    if (request->fault != HOB_REQUEST_GOOD || request->truncated_parameters)
        outer.handler = answer_fault;
    else if (match->route)
        return (hob_chain){.rest = match->route->chain, .handler = match->route->handler};
    else if (match->path_known)
        outer.handler = request->method == HOB_OPTIONS ? answer_options : answer_not_allowed;
    return outer;
}

static void find_route(const hob_application *application, const hob_request *request, hob_match *match) {
    hob__router_match(application, request->method, request->route_path, match);
    /* From the form for the router to the one for people: an encoded slash in a value is a slash to the handler. */
    for (size_t i = 0; i < match->param_count; i++)
        match->params[i].value.data = request->path.data + (match->params[i].value.data - request->route_path.data);
}

void hob__serve(const hob_application *application, hob_ctx *ctx, hob_match *match) {
    find_route(application, ctx->request, match);
    ctx->match = match;
    ctx->request->route = match->route;
    hob_chain chain = chain_for(application, ctx);
    (void)hob__settle(ctx, hob_next(ctx, &chain));
}
