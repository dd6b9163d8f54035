/* A user at a glance: three look-ups at the same time. */
#include "users_api.h"

#define NEWEST 10

static const hob_query TOTALS = HOB_READ(
    "SELECT count(*) AS orders, coalesce(sum(total_cents), 0)::bigint AS cents FROM orders WHERE user_id = $1");

static const hob_field TOTALS_FIELDS[] = {
    {.name = "orders", .type = HOB_INT},
    {.name = "cents", .type = HOB_INT},
    {0},
};

int get_summary(hob_ctx *c) {
    int64_t id = hob_path_int(c, "id");
    look_up user = {.query = &USER_BY_ID, .params = {hob_int(id)}, .count = 1};
    look_up orders = {
        .query = &ORDERS_OF_USER, .params = {hob_int(id), hob_int(INT64_MAX), hob_int(NEWEST)}, .count = 3};
    look_up totals = {.query = &TOTALS, .params = {hob_int(id)}, .count = 1};
    hob_group *all = hob_group_new(c);
    hob_group_go(all, run_look_up, &user);
    hob_group_go(all, run_look_up, &orders);
    hob_group_go(all, run_look_up, &totals);
    int status = hob_group_wait(all);
    if (status)
        return status;
    if (hob_rows_count(user.rows) == 0)
        return no_user(c, id);
    json_object *summary = hob_object(c);
    hob_set(c, summary, "user", hob_row_object(c, user.rows, 0, USER_FIELDS));
    hob_set(c, summary, "orders", hob_rows_array(c, orders.rows, ORDER_FIELDS));
    hob_set(c, summary, "totals", hob_row_object(c, totals.rows, 0, TOTALS_FIELDS));
    return hob_json(c, 200, summary);
}
