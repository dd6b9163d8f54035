/* Routes and wiring. */
#include "users_api.h"

static int ping(hob_ctx *c) {
    return hob_reply(c, 200, "application/json", HOB_TEXT("{\"message\":\"pong\"}"));
}

hob_app *users_api(void) {
    hob_app *app = hob_new("users-api");
    hob_use(app, hob_request_id, hob_real_ip, hob_access_log, hob_recover, hob_deadline);
    hob_get(app, "/ping", ping);
    hob_get(app, "/livez", hob_livez);
    hob_get(app, "/readyz", hob_readyz);

    hob_router *v1 = hob_route(app, "/api/v1");
    hob_get(v1, "/users", list_users);
    hob_post(v1, "/users", create_user);
    hob_get(v1, "/users/{id:int}", get_user);
    hob_put(v1, "/users/{id:int}", replace_user);
    hob_patch(v1, "/users/{id:int}", change_user);
    hob_delete(v1, "/users/{id:int}", delete_user);
    hob_get(v1, "/users/{id:int}/orders", list_orders);
    hob_post(v1, "/users/{id:int}/orders", create_order);
    hob_get(v1, "/users/{id:int}/summary", get_summary);
    hob_get(v1, "/orders/{id:int}", get_order);
    return app;
}
