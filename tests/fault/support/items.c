#include "items.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static const hob_query ITEM_BY_ID = HOB_READ("SELECT version FROM items WHERE id = $1");
static const hob_query LOCK_ITEM = HOB_READ("SELECT version FROM items WHERE id = $1 FOR UPDATE");
static const hob_query ALL_VERSIONS =
    HOB_READ("SELECT string_agg(version::text, ',' ORDER BY id) AS versions FROM items");
static const hob_query SET_VERSION = HOB_WRITE("UPDATE items SET version = $2 WHERE id = $1");
static const hob_query RAISE_VERSION =
    HOB_WRITE("UPDATE items SET version = version + 1 WHERE id = $1 RETURNING version");

static long longest_pause;

static int pause_at_random(hob_ctx *c) {
    return longest_pause ? hob_sleep(c, random() % (longest_pause + 1)) : 0;
}

hob_text item_key(hob_ctx *c, int64_t id) {
    return hob_key(c, "item:%" PRId64, id);
}

int answer_item(hob_ctx *c, const item *item) {
    return hob_reply(c, 200, "application/json",
                     hob_format(c, "{\"id\":%" PRId64 ",\"version\":%" PRId64 "}", item->id, item->version));
}

static int take_version(hob_ctx *c, const hob_rows *rows, item *item) {
    int status = hob_rows_status(c, rows, NULL);
    if (status)
        return status;
    if (hob_rows_count(rows) == 0)
        return hob_not_found(c, "no item %" PRId64, item->id);
    item->version = hob_rows_int(rows, 0, "version");
    return 0;
}

int load_item(hob_ctx *c, void *arg) {
    item *item = arg;
    int status = take_version(c, hob_db_query(c, &ITEM_BY_ID, hob_int(item->id)), item);
    if (!status)
        status = pause_at_random(c);
    if (status)
        return status;
    hob_set_header(c, "X-Loaded", "1");
    return answer_item(c, item);
}

int raise_version(hob_ctx *c, item *item) {
    return take_version(c, hob_db_query(c, &RAISE_VERSION, hob_int(item->id)), item);
}

/* The header X-Die: the worker is killed here and now, between COMMIT and all that comes behind it. */
static void die_if_told(hob_ctx *c) {
    if (hob_header(c, "X-Die").data)
        kill(getpid(), SIGKILL);
}

int get_item(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    return hob_cached(c, item_key(c, item.id), 0, load_item, &item);
}

static int get_past_cache(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    return load_item(c, &item);
}

static int load_list(hob_ctx *c, void *unused) {
    (void)unused;
    hob_rows *rows = hob_db_query(c, &ALL_VERSIONS);
    int status = hob_rows_status(c, rows, NULL);
    if (!status)
        status = pause_at_random(c);
    if (status)
        return status;
    hob_set_header(c, "X-Loaded", "1");
    hob_text versions = hob_rows_text(rows, 0, "versions");
    return hob_reply(c, 200, "application/json", hob_format(c, "{\"versions\":[" HOB_FMT "]}", HOB_ARG(versions)));
}

/* The list of all, for whichever item. */
static int get_listed(hob_ctx *c) {
    hob_text keys[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        keys[i] = item_key(c, i + 1);
    return hob_cached_on(c, hob_key(c, "items"), keys, ITEMS, 0, load_list, NULL);
}

static int end_of_write(hob_ctx *c, int status, const item *item) {
    if (status)
        return status;
    die_if_told(c);
    return answer_item(c, item);
}

int put_item(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    hob_forget(c, item_key(c, item.id));
    int status = pause_at_random(c);
    return end_of_write(c, status ? status : raise_version(c, &item), &item);
}

static int read_and_set(hob_ctx *c, void *arg) {
    item *item = arg;
    int status = take_version(c, hob_db_query(c, &LOCK_ITEM, hob_int(item->id)), item);
    if (status)
        return status;
    hob_forget(c, item_key(c, item->id));
    item->version++;
    hob_rows *rows = hob_db_query(c, &SET_VERSION, hob_int(item->id), hob_int(item->version));
    status = hob_rows_status(c, rows, NULL);
    return status ? status : pause_at_random(c);
}

static int put_in_transaction(hob_ctx *c) {
    item item = {.id = hob_path_int(c, "id")};
    return end_of_write(c, hob_db_tx(c, (hob_tx_options){0}, read_and_set, &item), &item);
}

static int tell_worker(hob_ctx *c, const hob_chain *chain) {
    hob_set_header(c, "X-Worker", "%d", (int)getpid());
    return hob_next(c, chain);
}

hob_app *items_new(hob_handler *get, hob_handler *put) {
    const char *pause = getenv("ITEMS_PAUSE");
    longest_pause = pause ? strtol(pause, NULL, 10) : 0;
    srandom((unsigned)getpid());
    hob_app *app = hob_new("items");
    hob_use(app, tell_worker, hob_recover, hob_deadline);
    hob_get(app, "/items/{id:int}", get);
    hob_put(app, "/items/{id:int}", put);
    hob_put(app, "/items/{id:int}/in-transaction", put_in_transaction);
    hob_get(app, "/items/{id:int}/past-cache", get_past_cache);
    hob_get(app, "/items/{id:int}/listed", get_listed);
    return app;
}
