/* Routes: a tree over path segments, compiled once, matched without an allocation. */
#ifndef HOB_HTTP_ROUTER_H
#define HOB_HTTP_ROUTER_H

#include <stdio.h>

#include "hob.h"
#include "http/request.h"

#define HOB_PATH_PARAMS 8 /* most parameters one pattern may have */

typedef struct hob_route_info {
    hob_http_method method;
    const char *pattern; /* whole, with its groups' prefixes: "/users/{id:int}"; the log's and the metrics' label */
    hob_handler *handler;
    hob_middleware **chain; /* all that wrap it, outermost first, NULL-terminated */
} hob_route_info;

typedef struct hob_param_match {
    const char *name;
    hob_text value;
    int64_t integer; /* of {name:int} */
} hob_param_match;

typedef struct hob_match {
    const hob_route_info *route; /* NULL: none */
    bool path_known;             /* some method has this path */
    unsigned allowed;            /* bit 1 << method; HEAD where GET is, OPTIONS always */
    hob_param_match params[HOB_PATH_PARAMS];
    size_t param_count;
} hob_match;

struct hob_router {
    const char *prefix;                  /* whole, with its parents' */
    struct hob_application *application; /* shared by all routers of one application */
    hob_router *parent;
    hob_middleware **uses;
    size_t use_count;
};

/* What the outermost router carries. */
typedef struct hob_application {
    const char *name;
    hob_arena *memory;                               /* of all that is declared and compiled, this struct too */
    struct hob_declared_route *routes, **last_route; /* of all routers, in the order of declaration */
    struct hob_route_node *tree;                     /* NULL until compiled */
    hob_middleware **outer; /* the application's own middlewares, NULL-terminated; they wrap 404 and 405 too */
    char fault[512];        /* the first thing wrong with its routes: "... conflicts with ..." */
    void *runtime;          /* the worker's services while it runs, and the tests' */
} hob_application;

hob_application *hob__application(hob_app *app); /* NULL of NULL */
/* Idempotent; needed anew when something was declared since. false: application->fault says what is wrong. */
bool hob__router_compile(hob_app *app) HOB_MUST_CHECK;
/* path: hob_request.route_path; the parameters' values point into it. Every segment counts, an empty one too. A path
 * with a "." or ".." segment, encoded or not, matches nothing: the web server before us resolved it, and may have
 * guarded what it resolved to. allowed is complete when no route was found. */
void hob__router_match(const hob_application *application, hob_http_method method, hob_text path, hob_match *match);
void hob__router_print(hob_app *app, FILE *out); /* METHOD pattern, a route a line, in the order of declaration */
void hob__router_free(hob_app *app);
hob_text hob__allow_of(unsigned allowed, char *buffer, size_t size); /* "GET, HEAD, OPTIONS" */

#endif
