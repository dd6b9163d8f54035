#include "base/config.h"
#include "base/log.h"
#include "http/ctx.h"
#include "operations.h"
#include "users_api.h"

static hob_arena *arena;

static void begin_http(void) {
    arena = arena ? arena : hob__arena_new((size_t)1 << 20);
    EXPECT(arena);
}

/* ---- router: a table of 50 ---- */

static hob_application *table;

static int no_handler(hob_ctx *c) {
    return hob_no_content(c);
}

static void declare_resource(hob_router *router, const char *name) {
    char all[64], one[64], items[64], item[64];
    snprintf(all, sizeof all, "/%s", name);
    snprintf(one, sizeof one, "/%s/{id:int}", name);
    snprintf(items, sizeof items, "/%s/{id:int}/items", name);
    snprintf(item, sizeof item, "/%s/{id:int}/items/{item:uuid}", name);
    hob_get(router, all, no_handler);
    hob_post(router, all, no_handler);
    hob_get(router, one, no_handler);
    hob_put(router, one, no_handler);
    hob_delete(router, one, no_handler);
    hob_get(router, items, no_handler);
    hob_get(router, item, no_handler);
}

static struct {
    hob_http_method method;
    hob_text path;
} asked[] = {
    {HOB_GET, HOB_TEXT("/ping")},
    {HOB_GET, HOB_TEXT("/api/v1/users")},
    {HOB_GET, HOB_TEXT("/api/v1/users/123456")},
    {HOB_PUT, HOB_TEXT("/api/v1/carts/98")},
    {HOB_POST, HOB_TEXT("/api/v1/products")},
    {HOB_GET, HOB_TEXT("/api/v1/orders/12/items")},
    {HOB_GET, HOB_TEXT("/api/v1/reviews/7/items/01890a5d-ac96-774b-bcce-b302099a8057")},
    {HOB_DELETE, HOB_TEXT("/api/v1/shipments/1234567890123")},
};
#define ASKED (sizeof asked / sizeof *asked)

static void run_router(void) {
    hob_match match;
    for (size_t i = 0; i < ASKED; i++) {
        hob__router_match(table, asked[i].method, asked[i].path, &match);
        EXPECT(match.route);
    }
}

static void begin_router(void) {
    static const char *const resources[] = {"users", "orders", "products", "carts", "invoices", "reviews", "shipments"};
    hob_app *app = hob_new("table");
    hob_router *v1 = hob_route(app, "/api/v1");
    hob_get(app, "/ping", no_handler);
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
        declare_resource(v1, resources[i]);
    for (size_t i = 0; i < ASKED; i++)
        asked[i].path = hob_text_of(keep(asked[i].path.data));
    EXPECT(hob__router_compile(app));
    table = hob__application(app);
}

/* ---- environment: what conf/nginx/hob-fastcgi.conf passes for a browser's request ---- */

static const char *const passed[] = {
    /* and REQUEST_URI */
    "FCGI_ROLE=RESPONDER",
    "REQUEST_METHOD=GET",
    "QUERY_STRING=fields=all",
    "CONTENT_TYPE=",
    "CONTENT_LENGTH=",
    "SERVER_PROTOCOL=HTTP/1.1",
    "REQUEST_SCHEME=https",
    "HTTPS=on",
    "GATEWAY_INTERFACE=CGI/1.1",
    "SERVER_SOFTWARE=nginx/1.22.1",
    "REMOTE_ADDR=203.0.113.9",
    "REMOTE_PORT=51234",
    "SERVER_ADDR=192.0.2.1",
    "SERVER_PORT=443",
    "SERVER_NAME=api.example.com",
    "HTTP_X_REQUEST_ID=6f1c0c3b2f7e4b0f9d7c0e0d3a1b5c77",
    "HTTP_HOST=api.example.com",
    "HTTP_USER_AGENT=Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "HTTP_ACCEPT=application/json, text/plain, */*",
    "HTTP_ACCEPT_LANGUAGE=en-GB,en;q=0.5",
    "HTTP_ACCEPT_ENCODING=gzip, deflate, br",
    "HTTP_REFERER=https://www.example.com/users",
    "HTTP_ORIGIN=https://www.example.com",
    "HTTP_SEC_FETCH_MODE=cors",
    "HTTP_COOKIE=session=c2Vzc2lvbi1pZC1vZi1hLXVzZXI",
};
#define PASSED (sizeof passed / sizeof *passed)

static char *environment[PASSED + 2];

static void keep_environment(char **variables, const char *target) {
    *variables++ = keep(target);
    for (size_t i = 0; i < PASSED; i++)
        *variables++ = keep(passed[i]);
}

static void run_environment(void) {
    hob_request request;
    hob__request_from_environment(&request, arena, environment, NULL);
    EXPECT(request.fault == HOB_REQUEST_GOOD);
    hob__arena_reset(arena);
}

static void begin_environment(void) {
    hob_request request;
    begin_http();
    keep_environment(environment, "REQUEST_URI=/api/v1/users/123?fields=all");
    hob__request_from_environment(&request, arena, environment, NULL);
    EXPECT(request.header_count == 10);
    EXPECT(hob_text_equal(request.path, HOB_TEXT("/api/v1/users/123")));
}

/* ---- head: of an answer with three headers ---- */

static void run_head(void) {
    hob_response response;
    memset(&response, 0, offsetof(hob_response, spare_head));
    response.status = 201;
    response.content_type = HOB_TEXT("application/json");
    response.body = HOB_TEXT("{}");
    hob__response_set(&response, arena, HOB_TEXT("X-Request-ID"), HOB_TEXT("6f1c0c3b2f7e4b0f9d7c0e0d3a1b5c77"));
    hob__response_set(&response, arena, HOB_TEXT("Location"), HOB_TEXT("/api/v1/users/123"));
    hob__response_set(&response, arena, HOB_TEXT("Cache-Control"), HOB_TEXT("private, no-cache"));
    EXPECT(hob__response_head(&response, arena).size > 100);
    hob__arena_reset(arena);
}

/* ---- ping: all of users-api's between the front's reading and its writing ---- */

static hob_application *application;
static hob_config config;
static char *ping_environment[PASSED + 2];

static void run_ping(void) {
    hob_task task = {.arena = arena, .deadline = HOB_FOREVER};
    hob_request request;
    hob_response response;
    hob_match match;
    hob__request_from_environment(&request, arena, ping_environment, NULL);
    memset(&response, 0, offsetof(hob_response, spare_head));
    hob_ctx ctx = {.task = &task, .arena = arena, .request = &request, .response = &response, .config = &config};
    hob__serve(application, &ctx, &match);
    EXPECT(response.status == 200 && hob__response_head(&response, arena).size > 0);
    hob__arena_reset(arena);
}

static void begin_ping(void) {
    char error[256];
    hob_app *app = users_api();
    begin_http();
    keep_environment(ping_environment, "REQUEST_URI=/ping");
    EXPECT(hob__router_compile(app));
    EXPECT(hob__config_load(&config, (char *[]){NULL}, error));
    EXPECT(hob__log_open(NULL, HOB_LOG_WARN)); /* no line a request */
    application = hob__application(app);
}

const operation http_operations[] = {
    {.name = "router", .begin = begin_router, .run = run_router, .at_once = ASKED},
    {.name = "environment", .begin = begin_environment, .run = run_environment},
    {.name = "head", .begin = begin_http, .run = run_head},
    {.name = "ping", .begin = begin_ping, .run = run_ping},
    {0},
};
