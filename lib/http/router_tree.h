/* The compiled routes, between router.c, which builds them, and router_match.c, which walks them. */
#ifndef HOB_HTTP_ROUTER_TREE_H
#define HOB_HTTP_ROUTER_TREE_H

#include "http/router.h"

/* In the order in which they are tried. */
typedef enum hob_segment_kind {
    HOB_SEGMENT_LITERAL,
    HOB_SEGMENT_INT,
    HOB_SEGMENT_UUID,
    HOB_SEGMENT_TEXT,
    HOB_SEGMENT_REST
} hob_segment_kind;

typedef struct hob_compiled_route {
    hob_route_info info;
    const char *names[HOB_PATH_PARAMS]; /* the route's, not the node's: methods may name the same place differently */
    size_t name_count;
} hob_compiled_route;

typedef struct hob_route_node {
    hob_segment_kind kind;
    hob_text literal;
    struct hob_route_node *children; /* by kind */
    struct hob_route_node *next;
    hob_compiled_route *routes[HOB_METHODS]; /* of the patterns that end here */
    unsigned allowed;                        /* bit 1 << method of those, HEAD where GET is */
} hob_route_node;

#endif
