#include "http/router.h"

#include <string.h>

#include "base/text.h"
#include "http/router_tree.h"

#define APPLICATION_MEMORY ((size_t)64 * 1024 * 1024) /* bounds a runaway, nothing else */

typedef struct hob_declared_route {
    const hob_router *router;
    const char *method, *pattern; /* the pattern whole */
    hob_handler *handler;
    hob_middleware *const *own;
    struct hob_declared_route *next;
} hob_declared_route;

hob_app *hob_new(const char *name) {
    hob_arena *memory = hob__arena_new(APPLICATION_MEMORY);
    if (memory == NULL)
        return NULL;
    hob_application *application = hob__arena_calloc(memory, 1, sizeof *application);
    hob_app *app = hob__arena_calloc(memory, 1, sizeof *app);
    hob_text own_name = hob__arena_copy(memory, hob_text_of(name));
    if (application == NULL || app == NULL || own_name.data == NULL) {
        hob__arena_free(memory);
        return NULL;
    }
    application->name = own_name.data;
    application->memory = memory;
    application->last_route = &application->routes;
    *app = (hob_router){.prefix = "", .application = application};
    return app;
}

hob_application *hob__application(hob_app *app) {
    return app ? app->application : NULL;
}

void hob__router_free(hob_app *app) {
    if (app)
        hob__arena_free(app->application->memory);
}

/* Where a declaration goes. When it has no room for one it stays failed, so that compiling fails too. What was compiled
 * is out of date from here on. */
static hob_arena *declare(hob_router *router) {
    router->application->tree = NULL;
    return router->application->memory;
}

static size_t list_size(hob_middleware *const *list) {
    size_t size = 0;
    while (list[size])
        size++;
    return size;
}

void hob_use_list(hob_router *router, hob_middleware *const *list) {
    if (router == NULL)
        return;
    hob_arena *memory = declare(router);
    size_t more = list_size(list), size = sizeof *router->uses;
    hob_middleware **uses =
        hob__arena_grow(memory, router->uses, router->use_count * size, (router->use_count + more) * size);
    if (uses == NULL)
        return;
    memcpy(uses + router->use_count, list, more * size);
    router->uses = uses;
    router->use_count += more;
}

hob_router *hob_route(hob_router *parent, const char *prefix) {
    if (parent == NULL)
        return NULL;
    hob_arena *memory = declare(parent);
    hob_text whole = hob__arena_format(memory, "%s%s", parent->prefix, prefix);
    hob_router *router = hob__arena_alloc(memory, sizeof *router);
    if (whole.data == NULL || router == NULL)
        return NULL;
    *router = (hob_router){.prefix = whole.data, .application = parent->application, .parent = parent};
    return router;
}

void hob_handle_list(hob_router *router, const char *method, const char *pattern, hob_handler *handler,
                     hob_middleware *const *own) {
    if (router == NULL)
        return;
    hob_application *application = router->application;
    hob_arena *memory = declare(router);
    hob_text whole = hob__arena_format(memory, "%s%s", router->prefix, pattern);
    hob_text own_method = hob__arena_copy(memory, hob_text_of(method));
    size_t own_size = (list_size(own) + 1) * sizeof *own;
    hob_middleware **own_copy = hob__arena_alloc(memory, own_size);
    hob_declared_route *route = hob__arena_alloc(memory, sizeof *route);
    if (hob__arena_failed(memory))
        return;
    memcpy(own_copy, own, own_size);
    *route = (hob_declared_route){router, own_method.data, whole.data, handler, own_copy, NULL};
    *application->last_route = route;
    application->last_route = &route->next;
}

void hob__router_print(hob_app *app, FILE *out) {
    if (app == NULL)
        return;
    for (const hob_declared_route *route = app->application->routes; route; route = route->next)
        fprintf(out, "%s %s\n", route->method, route->pattern);
}

/* ---- Compiling ---- */

typedef struct compilation {
    hob_application *application;
    const hob_declared_route *declared; /* the one being added */
    hob_compiled_route *route;
} compilation;

static bool fault(const compilation *now, const char *what) {
    snprintf(now->application->fault, sizeof now->application->fault, "%s %s: %s", now->declared->method,
             now->declared->pattern, what);
    return false;
}

/* All that wrap a route of router: its ancestors' and its own uses, then the route's own. NULL when memory ran out. */
static hob_middleware **chain_of(hob_arena *memory, const hob_router *router, hob_middleware *const *own) {
    size_t size = sizeof *own, used = 0;
    for (const hob_router *r = router; r; r = r->parent)
        used += r->use_count;
    hob_middleware **chain = hob__arena_alloc(memory, (used + list_size(own) + 1) * size);
    if (chain == NULL)
        return NULL;
    memcpy(chain + used, own, (list_size(own) + 1) * size);
    for (const hob_router *r = router; r; r = r->parent) {
        used -= r->use_count;
        if (r->use_count > 0)
            memcpy(chain + used, r->uses, r->use_count * size);
    }
    return chain;
}

static bool is_name(hob_text name) {
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.size > 0;
}

static bool add_name(compilation *now, hob_text name) {
    hob_compiled_route *route = now->route;
    if (!is_name(name))
        return fault(now, "a parameter is {name}, {name:int}, {name:uuid} or {name...}");
    for (size_t i = 0; i < route->name_count; i++)
        if (hob_text_equal(hob_text_of(route->names[i]), name))
            return fault(now, "two parameters have the same name");
    if (route->name_count == HOB_PATH_PARAMS)
        return fault(now, "it has too many parameters");
    hob_text copy = hob__arena_copy(now->application->memory, name);
    if (copy.data == NULL)
        return false;
    route->names[route->name_count++] = copy.data;
    return true;
}

/* inside: between the braces. */
static bool parse_parameter(compilation *now, hob_text inside, bool last, hob_segment_kind *kind) {
    hob_text type = inside, name;
    (void)hob__text_split(&type, ':', &name);
    bool rest = inside.size >= 3 && memcmp(inside.data + inside.size - 3, "...", 3) == 0;
    if (rest && !last)
        return fault(now, "only the last segment can be {name...}");
    if (rest) {
        *kind = HOB_SEGMENT_REST;
        name.size -= 3;
    } else if (type.data == NULL) {
        *kind = HOB_SEGMENT_TEXT;
    } else if (hob_text_equal(type, HOB_TEXT("int"))) {
        *kind = HOB_SEGMENT_INT;
    } else if (hob_text_equal(type, HOB_TEXT("uuid"))) {
        *kind = HOB_SEGMENT_UUID;
    } else {
        return fault(now, "a parameter's type is int or uuid");
    }
    return add_name(now, name);
}

static bool parse_segment(compilation *now, hob_text segment, bool last, hob_segment_kind *kind) {
    bool opens = segment.size > 1 && segment.data[0] == '{', closes = opens && segment.data[segment.size - 1] == '}';
    if (closes)
        return parse_parameter(now, (hob_text){segment.data + 1, segment.size - 2}, last, kind);
    if (segment.size > 0 && (memchr(segment.data, '{', segment.size) || memchr(segment.data, '}', segment.size)))
        return fault(now, "a parameter must be a whole segment");
    if (segment.size == 0 && !last)
        return fault(now, "it has an empty segment");
    *kind = HOB_SEGMENT_LITERAL;
    return true;
}

/* The child for such a segment, made when there is none yet. */
static hob_route_node *child_of(hob_application *application, hob_route_node *node, hob_segment_kind kind,
                                hob_text literal) {
    hob_route_node **place = &node->children;
    for (; *place && (*place)->kind <= kind; place = &(*place)->next)
        if ((*place)->kind == kind && (kind != HOB_SEGMENT_LITERAL || hob_text_equal((*place)->literal, literal)))
            return *place;
    hob_route_node *child = hob__arena_calloc(application->memory, 1, sizeof *child);
    if (child == NULL)
        return NULL;
    child->kind = kind;
    child->literal = literal;
    child->next = *place;
    *place = child;
    return child;
}

/* The node at which the pattern ends; NULL: fault. */
static hob_route_node *walk_pattern(compilation *now, hob_route_node *node) {
    hob_text rest = hob_text_of(now->declared->pattern + 1), segment;
    while (node && hob__text_split(&rest, '/', &segment)) {
        hob_segment_kind kind;
        if (!parse_segment(now, segment, rest.data == NULL, &kind))
            return NULL;
        node = child_of(now->application, node, kind, segment);
    }
    return node;
}

static bool put_route(const compilation *now, hob_route_node *node) {
    hob_route_info *info = &now->route->info;
    if (node->routes[info->method]) {
        const hob_route_info *other = &node->routes[info->method]->info;
        snprintf(now->application->fault, sizeof now->application->fault, "%s %s conflicts with %s %s",
                 now->declared->method, info->pattern, now->declared->method, other->pattern);
        return false;
    }
    node->routes[info->method] = now->route;
    node->allowed |= 1U << info->method;
    if (info->method == HOB_GET)
        node->allowed |= 1U << HOB_HEAD;
    return true;
}

static bool add_route(hob_application *application, hob_route_node *root, const hob_declared_route *declared) {
    compilation now = {application, declared, hob__arena_calloc(application->memory, 1, sizeof(hob_compiled_route))};
    hob_middleware **chain = chain_of(application->memory, declared->router, declared->own);
    hob_http_method method = hob__method_of(hob_text_of(declared->method));
    if (now.route == NULL || chain == NULL)
        return false;
    if (method == HOB_METHOD_UNKNOWN)
        return fault(&now, "no such method");
    if (declared->handler == NULL)
        return fault(&now, "it has no handler");
    if (declared->pattern[0] != '/')
        return fault(&now, "it does not begin with '/'");
    now.route->info = (hob_route_info){method, declared->pattern, declared->handler, chain};
    hob_route_node *end = walk_pattern(&now, root);
    return end && put_route(&now, end);
}

static bool build(hob_app *app) {
    hob_application *application = app->application;
    hob_route_node *root = hob__arena_calloc(application->memory, 1, sizeof *root);
    application->outer = chain_of(application->memory, app, (hob_middleware *const[]){NULL});
    if (root == NULL || application->outer == NULL)
        return false;
    for (const hob_declared_route *route = application->routes; route; route = route->next)
        if (!add_route(application, root, route))
            return false;
    application->tree = root;
    return true;
}

bool hob__router_compile(hob_app *app) {
    hob_application *application = hob__application(app);
    if (application == NULL || application->tree)
        return application != NULL;
    application->fault[0] = '\0';
    if (!build(app) && application->fault[0] == '\0')
        snprintf(application->fault, sizeof application->fault, "memory ran out while routes were declared");
    return application->tree != NULL;
}
