/* Orders and their items. */
#include "users_api.h"

#define ORDER_COLUMNS "id, user_id, total_cents, created_at"

const hob_query ORDERS_OF_USER =
    HOB_READ("SELECT " ORDER_COLUMNS " FROM orders WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
static const hob_query ORDER_BY_ID = HOB_READ("SELECT " ORDER_COLUMNS " FROM orders WHERE id = $1");
static const hob_query ITEMS_OF_ORDER =
    HOB_READ("SELECT sku, quantity, unit_price_cents FROM order_items WHERE order_id = $1 ORDER BY position");
static const hob_query INSERT_ORDER =
    HOB_WRITE("INSERT INTO orders (user_id, total_cents) VALUES ($1, $2) RETURNING " ORDER_COLUMNS);
static const hob_query INSERT_ITEMS = HOB_WRITE(
    "INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)"
    " SELECT $1, position, sku, quantity, price"
    " FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS item (sku, quantity, price, position)"
    " ORDER BY position RETURNING sku, quantity, unit_price_cents");

struct item {
    hob_text sku;
    int64_t quantity, unit_price_cents;
};

struct order {
    hob_list items;
    int64_t user_id;
    hob_rows *head, *lines; /* what the database made of it */
};

static const char *check_sku(hob_text sku) {
    for (size_t i = 0; i < sku.size; i++) {
        char ch = sku.data[i];
        bool good = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '.' ||
                    ch == '_' || ch == '-';
        if (!good)
            return "must be of A-Z, a-z, 0-9, '.', '_' and '-'";
    }
    return NULL;
}

static const hob_field ITEM_FIELDS[] = {
    {.name = "sku", .type = HOB_STRING, .offset = offsetof(struct item, sku), .min = 1, .max = 64, .check = check_sku},
    {.name = "quantity", .type = HOB_INT, .offset = offsetof(struct item, quantity), .min = 1, .max = 10000},
    {.name = "unit_price_cents",
     .type = HOB_INT,
     .offset = offsetof(struct item, unit_price_cents),
     .min = 0,
     .max = 100000000},
    {0},
};

const hob_field ORDER_FIELDS[] = {
    {.name = "id", .type = HOB_INT, .server = true},
    {.name = "user_id", .type = HOB_INT, .server = true},
    {.name = "total_cents", .type = HOB_INT, .server = true},
    {.name = "created_at", .type = HOB_TIME, .server = true},
    {0},
};

static const hob_field ORDER_BODY[] = {
    {.name = "items",
     .type = HOB_LIST,
     .offset = offsetof(struct order, items),
     .min = 1,
     .max = 100,
     .items = ITEM_FIELDS,
     .item_size = sizeof(struct item)},
    {.name = "id", .type = HOB_INT, .server = true},
    {.name = "user_id", .type = HOB_INT, .server = true},
    {.name = "total_cents", .type = HOB_INT, .server = true},
    {.name = "created_at", .type = HOB_TIME, .server = true},
    {0},
};

int run_look_up(hob_ctx *c, void *arg) {
    look_up *l = arg;
    l->rows = hob_db_query_list(c, l->query, l->params, l->count);
    return hob_rows_status(c, l->rows, NULL);
}

int list_orders(hob_ctx *c) {
    int64_t id = hob_path_int(c, "id");
    hob_page page;
    int status = hob_page_of(c, &page);
    if (status)
        return status;
    look_up user = {.query = &USER_BY_ID, .params = {hob_int(id)}, .count = 1};
    look_up orders = {.query = &ORDERS_OF_USER,
                      .params = {hob_int(id), hob_int(page.after ? page.after : INT64_MAX), hob_int(page.limit + 1)},
                      .count = 3};
    hob_group *both = hob_group_new(c);
    hob_group_go(both, run_look_up, &user);
    hob_group_go(both, run_look_up, &orders);
    status = hob_group_wait(both);
    if (status)
        return status;
    if (hob_rows_count(user.rows) == 0)
        return no_user(c, id);
    return hob_rows_page(c, orders.rows, ORDER_FIELDS, "orders", &page, "id");
}

static hob_text order_key(hob_ctx *c, int64_t id) {
    return hob_key(c, "order:%" PRId64, id);
}

static json_object *order_object(hob_ctx *c, const hob_rows *head, const hob_rows *lines) {
    json_object *object = hob_row_object(c, head, 0, ORDER_FIELDS);
    hob_set(c, object, "items", hob_rows_array(c, lines, ITEM_FIELDS));
    return object;
}

static int load_order(hob_ctx *c, void *arg) { /* on a cache miss only */
    int64_t id = *(int64_t *)arg;
    look_up head = {.query = &ORDER_BY_ID, .params = {hob_int(id)}, .count = 1};
    look_up lines = {.query = &ITEMS_OF_ORDER, .params = {hob_int(id)}, .count = 1};
    hob_group *both = hob_group_new(c);
    hob_group_go(both, run_look_up, &head);
    hob_group_go(both, run_look_up, &lines);
    int status = hob_group_wait(both);
    if (status)
        return status;
    if (hob_rows_count(head.rows) == 0) {
        hob_no_store(c); /* somebody may ask too early, and create_order shall have nothing to forget */
        return hob_not_found(c, "no order %" PRId64, id);
    }
    return hob_json(c, 200, order_object(c, head.rows, lines.rows));
}

int get_order(hob_ctx *c) {
    int64_t id = hob_path_int(c, "id");
    return hob_cached(c, order_key(c, id), 0, load_order, &id);
}

/* Within the transaction. An int64 holds 100 items of 10,000 at 100,000,000 cents: 10^14. */
static int insert_order(hob_ctx *c, void *arg) {
    struct order *order = arg;
    const struct item *items = order->items.items;
    size_t count = order->items.count;
    hob_text *skus = hob_alloc(c, count * sizeof *skus);
    int64_t *quantities = hob_alloc(c, count * sizeof *quantities), *prices = hob_alloc(c, count * sizeof *prices);
    int64_t total = 0;
    if (!skus || !quantities || !prices)
        return hob_unavailable(c, 1, "out of memory");
    for (size_t i = 0; i < count; i++) {
        skus[i] = items[i].sku;
        quantities[i] = items[i].quantity;
        prices[i] = items[i].unit_price_cents;
        total += items[i].quantity * items[i].unit_price_cents;
    }
    order->head = hob_db_query(c, &INSERT_ORDER, hob_int(order->user_id), hob_int(total));
    int status = hob_rows_status(c, order->head, NULL);
    if (status)
        return status;
    order->lines = hob_db_query_last(c, &INSERT_ITEMS, hob_int(hob_rows_int(order->head, 0, "id")),
                                     hob_texts(skus, count), hob_ints(quantities, count), hob_ints(prices, count));
    return hob_rows_status(c, order->lines, NULL);
}

int create_order(hob_ctx *c) {
    struct order order = {0};
    int status = hob_bind(c, ORDER_BODY, &order);
    if (status)
        return status;
    order.user_id = hob_path_int(c, "id");
    status = hob_db_tx(c, (hob_tx_options){0}, insert_order, &order);
    if (status)
        return status == 404 ? no_user(c, order.user_id) : status;
    hob_set_location(c, "/api/v1/orders/%" PRId64, hob_rows_int(order.head, 0, "id"));
    return hob_json(c, 201, order_object(c, order.head, order.lines));
}
