#include "http/router.h"

#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "http/router_tree.h"

typedef struct search {
    hob_http_method method;
    hob_match *match;
} search;

static bool is_separator(char c) {
    return c == '/' || c == HOB_ENCODED_SLASH;
}

static bool has_dot_segment(hob_text path) {
    const char *end = path.data + path.size;
    for (const char *at = path.data; (at = memchr(at, '.', (size_t)(end - at))); at++) {
        if (at > path.data && !is_separator(at[-1]))
            continue;
        const char *behind = at + 1 < end && at[1] == '.' ? at + 2 : at + 1;
        if (behind == end || is_separator(*behind))
            return true;
    }
    return false;
}

static bool capture(hob_match *match, hob_text value, int64_t integer) {
    match->params[match->param_count++] = (hob_param_match){.value = value, .integer = integer};
    return true;
}

static bool takes_int(hob_match *match, hob_text segment) {
    int64_t value;
    if (segment.size == 0 || segment.data[0] < '1' || segment.data[0] > '9' || !hob__text_to_int(segment, &value))
        return false;
    return capture(match, segment, value);
}

/* rest begins with segment. */
static bool takes(const hob_route_node *node, hob_match *match, hob_text segment, hob_text rest) {
    switch (node->kind) {
    case HOB_SEGMENT_LITERAL:
        return hob_text_equal(node->literal, segment);
    case HOB_SEGMENT_INT:
        return takes_int(match, segment);
    case HOB_SEGMENT_UUID:
        return hob__uuid_valid(segment) && capture(match, segment, 0);
    case HOB_SEGMENT_TEXT:
        return segment.size > 0 && capture(match, segment, 0);
    case HOB_SEGMENT_REST:
        break;
    }
    return capture(match, rest, 0);
}

/* The path ends at this node. */
static bool arrive(const search *search, const hob_route_node *node) {
    hob_match *match = search->match;
    const hob_compiled_route *route = search->method < HOB_METHODS ? node->routes[search->method] : NULL;
    if (route == NULL && search->method == HOB_HEAD)
        route = node->routes[HOB_GET];
    match->allowed |= node->allowed;
    if (route == NULL)
        return false;
    match->route = &route->info;
    for (size_t i = 0; i < match->param_count; i++)
        match->params[i].name = route->names[i];
    return true;
}

/* Visits a node at most once: the nodes are a tree. */
static bool descend(const search *search, const hob_route_node *node, hob_text rest) {
    hob_text behind = rest, segment;
    if (!hob__text_split(&behind, '/', &segment))
        return arrive(search, node);
    size_t captured = search->match->param_count;
    for (const hob_route_node *child = node->children; child; child = child->next) {
        if (takes(child, search->match, segment, rest) &&
            (child->kind == HOB_SEGMENT_REST ? arrive(search, child) : descend(search, child, behind)))
            return true;
        search->match->param_count = captured;
    }
    return false;
}

void hob__router_match(const hob_application *application, hob_http_method method, hob_text path, hob_match *match) {
    *match = (hob_match){0};
    if (path.size == 0 || path.data[0] != '/' || has_dot_segment(path))
        return;
    descend(&(search){.method = method, .match = match}, application->tree, (hob_text){path.data + 1, path.size - 1});
    match->path_known = match->allowed != 0;
    if (match->path_known)
        match->allowed |= 1U << HOB_OPTIONS;
}

hob_text hob__allow_of(unsigned allowed, char *buffer, size_t size) {
    hob_text list = {buffer, 0};
    for (int method = 0; method < HOB_METHODS; method++) {
        hob_text name = hob__method_names[method];
        size_t comma = list.size > 0 ? 2 : 0;
        if (!(allowed & 1U << method) || list.size + comma + name.size > size)
            continue;
        memcpy(buffer + list.size, ", ", comma);
        memcpy(buffer + list.size + comma, name.data, name.size);
        list.size += comma + name.size;
    }
    return list;
}
